"""A drafter and its target as dice: requests with known acceptance, for tests that must recover it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from policies.evidence import RequestSteps


def at(values: Sequence[float], index: int) -> float:
    """The value of a position; the last one stands for all after it."""
    return values[min(index, len(values) - 1)]


def draft_step(
    rng: Random, acceptance: Sequence[float], coverage: Sequence[float], k: int
) -> tuple[int, int]:
    """Drafted and accepted tokens of one step: the drafter ends a run, the target judges it."""
    drafted = accepted = 0
    while drafted < k and rng.random() < at(coverage, drafted):
        drafted += 1
    while accepted < drafted and rng.random() < at(acceptance, accepted):
        accepted += 1
    return drafted, accepted


def simulated_request(
    rng: Random, acceptance: Sequence[float], coverage: Sequence[float], *, k: int, tokens: int
) -> RequestSteps:
    """The steps of a request that ends after `tokens` decoded tokens, its last step clipped as engines do."""
    per_step_drafted, per_step_accepted = [], []
    while tokens > 0:
        drafted, accepted = draft_step(rng, acceptance, coverage, k)
        if accepted > tokens - 1:
            drafted = accepted = tokens - 1
        per_step_drafted.append(drafted)
        per_step_accepted.append(accepted)
        tokens -= accepted + 1
    return RequestSteps(k, per_step_drafted, per_step_accepted)
