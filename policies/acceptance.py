"""What counters say about acceptance: a posterior with its uncertainty.

Per position i the chance that a step which got that far gains an i-th token is p_i = c_i * alpha_i, draft coverage
times conditional acceptance. Each is Beta distributed around its parent's mean:

    Beta(m * mu_i + hits_i, m * (1 - mu_i) + misses_i),  m = the policy's prior_strength

on counts divided by the design effect, because the steps of one request resemble one another. Parents are the
task's prior, then the task over all temperatures, then the task at this temperature, then the tenant's own: small
tenants borrow from their task, and quiet ones drift back toward it as their counts decay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from policies.evidence import positions
from policies.speedup import acceptance_length, effective_acceptance

NORMAL_90 = 1.6448536269514722
"""The standard normal's 95 % point: mean +- this many deviations is a 90 % interval."""

PRIOR_DESIGN_EFFECT = 3.0
PRIOR_DESIGN_REQUESTS = 10.0


class Prior(NamedTuple):
    """What is assumed before evidence, alike at every position; the last positions stand for all after them."""

    acceptance: tuple[float, ...]
    coverage: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Estimate:
    """The posterior of one cell, and the numbers derived from it.

    `acceptance` and `coverage` are the posterior means of alpha_i and c_i by position; `spread` the standard
    deviations of p_i = c_i * alpha_i. `alpha` is the effective acceptance at `reference_k` with its 90 % `interval`.
    `own_steps` counts the (decayed) steps of the most specific cell, `evidence_steps` those of its task.
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

        The deviation by the delta method: dL/dp_j = (sum over i >= j of the product over l <= i of p_l) / p_j,
        the positions being independent given the counts.
        """
        mean = acceptance_length(self.acceptance, self.coverage, k)
        gains, reach = [], 1.0
        for i in range(k):
            at = min(i, len(self.acceptance) - 1)
            reach *= self.acceptance[at] * self.coverage[at]
            gains.append(reach)
        variance, tail = 0.0, 0.0
        for j in reversed(range(k)):
            at = min(j, len(self.acceptance) - 1)
            tail += gains[j]
            p = self.acceptance[at] * self.coverage[at]
            if p > 0:
                variance += (tail / p * self.spread[at]) ** 2
        return mean, math.sqrt(variance)


def estimate(
    prior: Prior, levels: Sequence[Mapping[str, float]], *, prior_strength: float, reference_k: int
) -> Estimate:
    """The posterior of the last of `levels`, each shrunk toward the one before it, the first toward `prior`.

    `levels` are (decayed) counters as `evidence.counters` makes them, from the most general to the most specific;
    missing ones are empty mappings.
    """
    depth = max(reference_k, len(prior.acceptance), *(len(positions(level, "reached")) for level in levels), 1)
    acceptance = _extended(prior.acceptance, depth)
    coverage = _extended(prior.coverage, depth)
    spread = [_beta_deviation(a * c, prior_strength) for a, c in zip(acceptance, coverage, strict=True)]
    for level in levels:
        if not level.get("x"):
            continue
        deff = design_effect(level)
        for i in range(depth):
            reached = level.get(f"reached:{i + 1}", 0.0) / deff
            if not reached:
                break
            proposed = level.get(f"proposed:{i + 1}", 0.0) / deff
            accepted = level.get(f"accepted:{i + 1}", 0.0) / deff
            acceptance[i] = (prior_strength * acceptance[i] + accepted) / (prior_strength + proposed)
            coverage[i] = (prior_strength * coverage[i] + proposed) / (prior_strength + reached)
            spread[i] = _beta_deviation(acceptance[i] * coverage[i], prior_strength + reached)
    task, own = (levels[0], levels[-1]) if levels else ({}, {})
    return Estimate(
        acceptance=tuple(acceptance),
        coverage=tuple(coverage),
        spread=tuple(spread),
        reference_k=reference_k,
        evidence_steps=_speculative_steps(task),
        own_steps=_speculative_steps(own),
        draft_acceptance_rate=draft_acceptance_rate(own) or draft_acceptance_rate(task),
    )


def design_effect(counts: Mapping[str, float]) -> float:
    """How many correlated positions are worth one independent one, at least 1.

    The variance of the ratio sum(y) / sum(x) with requests as clusters, over the binomial one (Kish, "Survey
    Sampling", 1965; Cochran's ratio estimator). Few requests are pulled toward a prior guess.
    """
    n, x, y = counts.get("n", 0.0), counts.get("x", 0.0), counts.get("y", 0.0)
    if n <= 0 or x <= 0:
        return PRIOR_DESIGN_EFFECT
    rate = y / x
    binomial = rate * (1 - rate) / x
    squares = counts.get("yy", 0.0) - 2 * rate * counts.get("xy", 0.0) + rate * rate * counts.get("xx", 0.0)
    if n <= 1 or binomial <= 0 or not math.isfinite(squares):
        return PRIOR_DESIGN_EFFECT
    clustered = n / (n - 1) * max(0.0, squares) / (x * x)
    weight = n / (n + PRIOR_DESIGN_REQUESTS)
    return max(1.0, weight * clustered / binomial + (1 - weight) * PRIOR_DESIGN_EFFECT)


def draft_acceptance_rate(counts: Mapping[str, float]) -> float | None:
    """Accepted over proposed draft tokens, as vLLM reports it; None where nothing was proposed."""
    drafted = counts.get("drafted", 0.0)
    return counts.get("accepted", 0.0) / drafted if drafted > 0 else None


def pooled(levels: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The sum of counters, key by key."""
    total: dict[str, float] = {}
    for level in levels:
        for name, value in level.items():
            total[name] = total.get(name, 0.0) + value
    return total


def _speculative_steps(counts: Mapping[str, float]) -> float:
    return counts.get("reached:1", 0.0)


def _extended(values: Sequence[float], depth: int) -> list[float]:
    return [values[min(i, len(values) - 1)] for i in range(depth)]


def _beta_deviation(mean: float, strength: float) -> float:
    """Standard deviation of a Beta with this mean and total weight."""
    return math.sqrt(max(0.0, mean * (1 - mean)) / (strength + 1))
