"""A calibration: which requests to send, and what their answers say of acceptance, time and policy."""

from policies.calibrating.averages import Average
from policies.calibrating.by_side import SideResult
from policies.calibrating.cells import cells
from policies.calibrating.domains import DomainResult, domain_results
from policies.calibrating.expected import Expected, starting_routes
from policies.calibrating.figures import Figure
from policies.calibrating.known import Known
from policies.calibrating.measured import Measured, Side
from policies.calibrating.plan import Block, PoolFacts, Wanted, blocks, sides
from policies.calibrating.recommend import Recommended, recommended
from policies.calibrating.sampling import SamplingResult, sampling_results
from policies.calibrating.surface import Point, contexts_ran, file_entries, surface, typical_context

__all__ = [
    "Average",
    "Block",
    "DomainResult",
    "Expected",
    "Figure",
    "Known",
    "Measured",
    "Point",
    "PoolFacts",
    "Recommended",
    "SamplingResult",
    "Side",
    "SideResult",
    "Wanted",
    "blocks",
    "cells",
    "contexts_ran",
    "domain_results",
    "file_entries",
    "recommended",
    "sampling_results",
    "sides",
    "starting_routes",
    "surface",
    "typical_context",
]
