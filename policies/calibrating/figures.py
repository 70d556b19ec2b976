"""Rates and ratios with intervals: steps of one request, and sides of one prompt, belong together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from policies.acceptance import NORMAL_90, Prior, estimate, level
from policies.acceptance.design import Design, widening
from policies.acceptance.estimates import Estimate
from policies.off_policy.estimator import student

CONFIDENCE: Final = 0.9
"""Of all intervals."""
_FEWEST: Final = 2
_FEW: Final = {1: 6.3138, 2: 2.9200}
"""Student's two-sided quantile of 90 % for one and two degrees of freedom."""
_NO_PRIOR: Final = 1e-6


class Figure(NamedTuple):
    """An estimate with its interval of 90 %."""

    value: float
    low: float
    high: float


def rate(hits: float, tries: float, design: Design) -> Figure | None:
    """Hits over tries with Wilson's interval, on as many tries as they are worth; None without any.

    Source: E. B. Wilson, "Probable inference …", JASA 22 (1927); tries over the design effect as Kish (1965).
    """
    if tries <= 0:
        return None
    value = min(1.0, hits / tries)
    n, z = tries / design.effect, NORMAL_90 * widening(design.freedom)
    centre = (value + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(value * (1 - value) / n + z * z / (4 * n * n))
    return Figure(value, max(0.0, min(value, centre - half)), min(1.0, max(value, centre + half)))


def posterior(counts: Mapping[str, float], *, reference_k: int) -> Estimate | None:
    """What counters say by themselves of requests with one k, with the design effect in the intervals.

    None where nothing was reached. `counts` are those of `policies.evidence.counters`, added up.
    """
    counted = level(counts).counted
    if not counted:
        return None
    rates = Prior(
        tuple((accepted + 0.5) / (proposed + 1.0) for _, proposed, accepted in counted),
        tuple((proposed + 0.5) / (reached + 1.0) for reached, proposed, _ in counted),
    )
    return estimate(
        rates,
        [counts],
        prior_strength=_NO_PRIOR,
        reference_k=reference_k,
        max_k=max(len(counted), reference_k),
    )


def alpha_of(counts: Mapping[str, float], *, reference_k: int) -> Figure | None:
    """The effective acceptance at `reference_k` of requests with that k."""
    found = posterior(counts, reference_k=reference_k)
    return None if found is None else Figure(found.alpha, *found.interval)


def student_90(freedom: float) -> float:
    """Student's two-sided quantile of 90 %, at least that of one degree of freedom."""
    return _FEW.get(max(1, int(freedom))) or student(CONFIDENCE, freedom)


def mean_ratio(ratios: Sequence[float]) -> Figure | None:
    """The geometric mean of ratios of two sides, one for each prompt, with Student's interval.

    None for fewer than two: one says nothing of how much they differ.
    """
    logs = [math.log(ratio) for ratio in ratios if 0 < ratio < math.inf]
    if len(logs) < _FEWEST:
        return None
    mean = math.fsum(logs) / len(logs)
    variance = math.fsum((one - mean) ** 2 for one in logs) / (len(logs) - 1)
    half = student_90(len(logs) - 1.0) * math.sqrt(variance / len(logs))
    return Figure(math.exp(mean), math.exp(mean - half), math.exp(mean + half))
