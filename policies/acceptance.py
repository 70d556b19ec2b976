"""What counters say about acceptance: a posterior with its uncertainty.

Per position i the chance that a step which got that far gains an i-th token is p_i = c_i * alpha_i, draft
coverage times conditional acceptance. Both are Beta distributed around their parent's mean mu with m =
prior_strength:

    alpha_i ~ Beta(m * mu + accepted_i, m * (1 - mu) + proposed_i - accepted_i)
    c_i     ~ Beta(m * mu + proposed_i, m * (1 - mu) + reached_i - proposed_i)

on counts divided by the design effect, because the steps of one request resemble one another. Parents are the
task's prior, then the task over all temperatures, then the task at this temperature, then the tenant's own:
small tenants borrow from their task, and quiet ones drift back toward it, and widen, as their counts decay.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from policies.evidence import clusters, is_sound, positions
from policies.speedup import acceptance_length, effective_acceptance, expected_drafted

NORMAL_90: Final = 1.6448536269514722
"""The standard normal's 95 % point: mean +- this many deviations is a 90 % interval."""

_FEWEST_STEPS: Final = 1e-6
"""Less is what subtracting decayed counters leaves of nothing."""

PRIOR_DESIGN_EFFECT: Final = 3.0
PRIOR_DESIGN_REQUESTS: Final = 10.0


class Prior(NamedTuple):
    """What is assumed before evidence, by position; the last value stands for all positions after it."""

    acceptance: tuple[float, ...]
    coverage: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Estimate:
    """The posterior of one cell, and the numbers derived from it.

    `acceptance` and `coverage` are the posterior means of alpha_i and c_i by position; `spread` the standard
    deviations of p_i = c_i * alpha_i. `alpha` is the effective acceptance at `reference_k` with its 90 %
    `interval`. `own_steps` counts the (decayed) steps of the most specific cell, `evidence_steps` those of
    its task. `draft_acceptance_rate` is what was counted, at whatever k it was; None where nothing was
    proposed.
    """

    acceptance: tuple[float, ...]
    coverage: tuple[float, ...]
    spread: tuple[float, ...]
    reference_k: int
    evidence_steps: float = 0.0
    own_steps: float = 0.0
    draft_acceptance_rate: float | None = None
    alpha: float = field(init=False)
    interval: tuple[float, float] = field(init=False)

    def __post_init__(self) -> None:
        length, deviation = self.length(self.reference_k)
        low = effective_acceptance(length - NORMAL_90 * deviation, self.reference_k)
        high = effective_acceptance(length + NORMAL_90 * deviation, self.reference_k)
        object.__setattr__(self, "alpha", effective_acceptance(length, self.reference_k))
        object.__setattr__(self, "interval", (low, high))

    def length(self, k: int) -> tuple[float, float]:
        """E[L_k] and its standard deviation, in tokens per step.

        By the delta method, the positions being independent given the counts: with H_j = 1 + p_j+1 * H_j+1
        the length is 1 + p_1 * H_1, and dL/dp_j = (product over l < j of p_l) * H_j.
        """
        last = len(self.acceptance) - 1
        chances, reach = [], [1.0]
        for i in range(k):
            at = min(i, last)
            chances.append(self.acceptance[at] * self.coverage[at])
            reach.append(reach[-1] * chances[-1])
        variance, ahead = 0.0, 1.0
        for j in reversed(range(k)):
            variance += (reach[j] * ahead * self.spread[min(j, last)]) ** 2
            ahead = 1.0 + chances[j] * ahead
        return ahead, math.sqrt(variance)

    def expected_draft_acceptance_rate(self) -> float:
        """The draft acceptance rate the posterior predicts at `reference_k`; 0 where nothing is proposed.

        The counted rate falls as k grows, and k is what the router chooses: a threshold on it would chase its
        own tail. At one k the two agree once there is evidence.
        """
        drafted = expected_drafted(self.coverage, self.reference_k)
        accepted = acceptance_length(self.acceptance, self.coverage, self.reference_k) - 1.0
        return min(1.0, accepted / drafted) if drafted > 0 else 0.0


def estimate(
    prior: Prior, levels: Sequence[Mapping[str, float]], *, prior_strength: float, reference_k: int
) -> Estimate:
    """The posterior of the last of `levels`, each shrunk toward the one before it, the first toward `prior`.

    `levels` are (decayed) counters as `evidence.counters` makes them, from the most general to the most
    specific; missing ones are empty mappings, and unsound ones count as missing.
    """
    levels = [level if is_sound(level) else {} for level in levels]
    seen = [positions(level) for level in levels]
    depth = max(1, reference_k, len(prior.acceptance), len(prior.coverage), *map(len, seen))
    acceptance, coverage = _extended(prior.acceptance, depth), _extended(prior.coverage, depth)
    proposals, reaches = [prior_strength] * depth, [prior_strength] * depth
    for level, counted in zip(levels, seen, strict=True):
        weight = 1.0 / design_effect(level) if counted else 0.0
        proposals, reaches = [prior_strength] * depth, [prior_strength] * depth
        for i, (reached, proposed, accepted) in enumerate(counted):
            proposals[i] += weight * proposed
            reaches[i] += weight * reached
            acceptance[i] = _mean(prior_strength * acceptance[i] + weight * accepted, proposals[i])
            coverage[i] = _mean(prior_strength * coverage[i] + weight * proposed, reaches[i])
    task, own = (levels[0], levels[-1]) if levels else ({}, {})
    rate = draft_acceptance_rate(own)
    return Estimate(
        acceptance=tuple(acceptance),
        coverage=tuple(coverage),
        spread=tuple(map(_product_deviation, acceptance, proposals, coverage, reaches)),
        reference_k=reference_k,
        evidence_steps=task.get("reached:1", 0.0),
        own_steps=own.get("reached:1", 0.0),
        draft_acceptance_rate=draft_acceptance_rate(task) if rate is None else rate,
    )


def design_effect(counts: Mapping[str, float]) -> float:
    """How many steps of correlated requests are worth one independent step, at least 1.

    The variance of accepted tokens per step, requests being clusters (Cochran, "Sampling Techniques", 1977:
    the ratio estimator's), over the one independent steps of the same acceptance would have (Kish, "Survey
    Sampling", 1965). Requests are compared with those of the same k, since k alone moves the ratio:

        D = N / (N - G) * sum over requests of (y - x * Y_k / X_k)^2 / sum over k of X_k * Var(a | k)

    for N requests in G groups, one for each k. Few requests are pulled toward a prior guess.
    """
    chances = [accepted / reached for reached, _, accepted in positions(counts)]
    squares = independent = requests = freedom = 0.0
    for group in clusters(counts):
        if group.requests <= 1 or group.x <= 0:
            continue
        rate = group.y / group.x
        squares += max(0.0, group.yy - 2 * rate * group.xy + rate * rate * group.xx)
        independent += group.x * _accepted_variance(chances, group.k)
        requests += group.requests
        freedom += group.requests - 1
    if independent <= 0:
        return PRIOR_DESIGN_EFFECT
    clustered = requests * squares / independent
    effect = (clustered + PRIOR_DESIGN_REQUESTS * PRIOR_DESIGN_EFFECT) / (freedom + PRIOR_DESIGN_REQUESTS)
    return max(1.0, effect) if math.isfinite(effect) else PRIOR_DESIGN_EFFECT


def measured_length(counts: Mapping[str, float]) -> float | None:
    """Tokens per step over the steps that were allowed to draft (k > 0); None where there were none."""
    steps = counts.get("steps", 0.0) - counts.get("steps:0", 0.0)
    tokens = counts.get("tokens", 0.0) - counts.get("tokens:0", 0.0)
    return tokens / steps if steps > _FEWEST_STEPS else None


def draft_acceptance_rate(counts: Mapping[str, float]) -> float | None:
    """Accepted over proposed draft tokens, as vLLM reports it; None where nothing was proposed."""
    drafted = counts.get("drafted", 0.0)
    return counts.get("accepted", 0.0) / drafted if drafted > 0 else None


def pooled(levels: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The sum of counters, key by key; unsound ones are left out, lest one cell poison all."""
    total: dict[str, float] = {}
    for level in levels:
        if is_sound(level):
            for name, value in level.items():
                total[name] = total.get(name, 0.0) + value
    return total


def _accepted_variance(chances: Sequence[float], k: int) -> float:
    """Variance of the accepted tokens of one step with cap k, by the chances of each position.

    With R_i the chance to accept at least i tokens: E[a] = sum of R_i, E[a^2] = sum of (2 i - 1) R_i.
    """
    mean = second = 0.0
    reach = 1.0
    for i, chance in enumerate(chances[:k], start=1):
        reach *= min(1.0, chance)
        mean += reach
        second += (2 * i - 1) * reach
    return max(0.0, second - mean * mean)


def _extended(values: Sequence[float], depth: int) -> list[float]:
    return [values[min(i, len(values) - 1)] for i in range(depth)]


def _mean(hits: float, tries: float) -> float:
    """The rate of hits, within [0, 1] against rounding."""
    return min(1.0, hits / tries)


def _product_deviation(first: float, first_weight: float, second: float, second_weight: float) -> float:
    """Standard deviation of the product of two independent Betas, given by their means and total weights."""
    first_variance = first * (1 - first) / (first_weight + 1)
    second_variance = second * (1 - second) / (second_weight + 1)
    return math.sqrt(
        first_variance * second_variance + first_variance * second**2 + second_variance * first**2
    )
