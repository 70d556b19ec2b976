"""A calibration: which requests to send, and what their answers say of acceptance, time and policy."""

from policies.calibrating.cells import cells
from policies.calibrating.domains import DomainResult, SideResult, domain_results
from policies.calibrating.figures import Figure
from policies.calibrating.measured import Measured, Side
from policies.calibrating.plan import Block, PoolFacts, Wanted, blocks, sides
from policies.calibrating.recommend import Expected, Known, Recommended, recommended
from policies.calibrating.sampling import SamplingResult, sampling_results
from policies.calibrating.surface import Point, file_entries, surface

__all__ = [
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
    "domain_results",
    "file_entries",
    "recommended",
    "sampling_results",
    "sides",
    "surface",
]
