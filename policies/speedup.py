"""What speculation is worth: expected acceptance length, and the speedup at a step cost.

Sources: Leviathan, Kalman, Matias, "Fast Inference from Transformers via Speculative Decoding" (2023) for the
geometric case; the per-position form is the same sum without the assumption that every position is alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

_NEWTON_STEPS: Final = 50
_TOLERANCE: Final = 1e-12


class StepCost(NamedTuple):
    """A pool's step time, in units of a plain decode step.

    A step that verifies d >= 1 draft tokens costs 1 + verify + per_token * d; a drafter that is a model adds
    per_draft_token for every token it is asked for, used or not.
    """

    verify: float
    per_token: float
    per_draft_token: float


def acceptance_length(acceptance: Sequence[float], coverage: Sequence[float], k: int) -> float:
    """E[L_k] = 1 + sum over i = 1..k of the product over j <= i of c_j * alpha_j: tokens per step.

    `acceptance` and `coverage` are conditional on all before them being accepted, by position. Positions
    beyond the end of the sequences are taken to be like the last one given; without any, L = 1.
    """
    length = reach = 1.0
    for i in range(k if acceptance and coverage else 0):
        reach *= acceptance[min(i, len(acceptance) - 1)] * coverage[min(i, len(coverage) - 1)]
        length += reach
    return length


def effective_acceptance(length: float, k: int) -> float:
    """The a in [0, 1] with a + a^2 + ... + a^k = length - 1: the one number for people and thresholds.

    `length` is an acceptance length at the reference k; coverage is inside it. The sum is convex and growing
    in a, so Newton's steps from above come down to the solution without passing it. They start from what the
    inequality of the means allows, a^((k + 1) / 2) <= (a + ... + a^k) / k, or from a <= length - 1.
    """
    extra = length - 1.0
    if k <= 0 or not extra > 0:
        return 0.0
    if extra >= k:
        return 1.0
    alpha = min(extra, math.pow(extra / k, 2.0 / (k + 1)))
    for _ in range(_NEWTON_STEPS):
        value = slope = 0.0
        for _ in range(k):  # Horner's scheme for a + ... + a^k and its derivative
            slope = slope * alpha + value + 1.0
            value = (value + 1.0) * alpha
        step = (value - extra) / slope
        alpha -= step
        if step < _TOLERANCE:
            break
    return max(0.0, alpha)


def geometric_length(alpha: float, k: int) -> float:
    """1 + alpha + ... + alpha^k, the acceptance length when every position accepts alike."""
    length = power = 1.0
    for _ in range(k):
        power *= alpha
        length += power
    return length


def expected_drafted(coverage: Sequence[float], k: int) -> float:
    """Draft tokens a step is expected to verify when up to k are allowed.

    A drafter proposes its whole run before anything is verified, so only coverage ends it: the sum over i of
    the product over j <= i of c_j.
    """
    drafted, reach = 0.0, 1.0
    for i in range(k if coverage else 0):
        reach *= coverage[min(i, len(coverage) - 1)]
        drafted += reach
    return drafted


def step_time(coverage: Sequence[float], k: int, cost: StepCost) -> float:
    """Expected time of a step with cap k, in plain decode steps.

    Verifying costs only where something was proposed, which is c_1 of the steps; a model drafter costs for
    every token it is asked for.
    """
    if k <= 0:
        return 1.0
    proposing = coverage[0] if coverage else 0.0
    return (
        1.0
        + cost.verify * proposing
        + cost.per_token * expected_drafted(coverage, k)
        + cost.per_draft_token * k
    )


def speedup(acceptance: Sequence[float], coverage: Sequence[float], k: int, cost: StepCost) -> float:
    """Tokens per time of a step with cap k over those of a plain step: E[L_k] / T_k."""
    return acceptance_length(acceptance, coverage, k) / step_time(coverage, k, cost)


def speedups(
    acceptance: Sequence[float], coverage: Sequence[float], highest: int, cost: StepCost
) -> list[float]:
    """`speedup` for every k from 0 to `highest`, in one pass: a decision asks for all of them."""
    found = [1.0]
    if not acceptance or not coverage:
        return found + [speedup(acceptance, coverage, k, cost) for k in range(1, highest + 1)]
    length = reach = proposing = 1.0
    time = 1.0 + cost.verify * coverage[0]
    for i in range(highest):
        c = coverage[min(i, len(coverage) - 1)]
        reach *= acceptance[min(i, len(acceptance) - 1)] * c
        proposing *= c
        length += reach
        time += cost.per_token * proposing + cost.per_draft_token
        found.append(length / time)
    return found


def rule_of_thumb_speedup(alpha: float, k: int) -> float:
    """(k + (1 - alpha)) / (k (1 - alpha) + 1): the planner's estimate for k = 4, alpha = 0.75 is 2.125."""
    return (k + (1 - alpha)) / (k * (1 - alpha) + 1)


def two_model_speedup(alpha: float, k: int, draft_cost: float) -> float:
    """(1 - alpha^(k+1)) / ((1 - alpha)(1 + k c)), with c the drafter's cost per token in target passes."""
    return geometric_length(alpha, k) / (1 + k * draft_cost)
