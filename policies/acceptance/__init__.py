"""What counters say about acceptance: a posterior with its uncertainty.

Per position i the chance that a step which got that far gains an i-th token is p_i = c_i * alpha_i, draft
coverage times conditional acceptance. Both are Beta distributed around their parent's mean mu with m =
prior_strength:

    alpha_i ~ Beta(m * mu + accepted_i, m * (1 - mu) + proposed_i - accepted_i)
    c_i     ~ Beta(m * mu + proposed_i, m * (1 - mu) + reached_i - proposed_i)

on counts divided by the design effect (`design`), because the steps of one request resemble one another;
m is in steps, of which position i is given those that get there. What steps with one k say of another is
corrected for requests that differ (`carryover`).
Parents are the task's prior, moved by what all tasks of the profile have in common (`shift`), then the task
over all temperatures, then the task at this temperature, then the tenant's own (`levels`): small tenants
borrow from their task, and quiet ones drift back toward it, and widen, as their counts decay. Drafters that
copy are judged by their replays (`copying`). Why so: docs/decisions/0008.
"""

from __future__ import annotations

from policies.acceptance.copying import NO_REPLAYS, Replays, estimate_copying, replays
from policies.acceptance.design import design_effect
from policies.acceptance.estimates import NORMAL_90, Curves, Estimate, Prior
from policies.acceptance.levels import EMPTY_LEVEL, Level, estimate, level
from policies.acceptance.rates import draft_acceptance_rate, measured_length, pooled
from policies.acceptance.shift import CommonShift, Shift, common_shift

__all__ = [
    "EMPTY_LEVEL",
    "NORMAL_90",
    "NO_REPLAYS",
    "CommonShift",
    "Curves",
    "Estimate",
    "Level",
    "Prior",
    "Replays",
    "Shift",
    "common_shift",
    "design_effect",
    "draft_acceptance_rate",
    "estimate",
    "estimate_copying",
    "level",
    "measured_length",
    "pooled",
    "replays",
]
