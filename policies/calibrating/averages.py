"""Averages of one side, with intervals: answers of one prompt, and those decoded at once, belong together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final, NamedTuple

from policies.acceptance import NORMAL_90, level, measured_length
from policies.acceptance.design import accepted_variances, chances, design, widening
from policies.calibrating.figures import Figure, rate, student_90
from policies.evidence import Cluster, Position

Pair = tuple[float, float]
"""What a cluster of answers took or gained, and of how many units."""
_TAILS: Final = 20
"""Each side of an interval of 90 % leaves out one in so many."""
_LEAST_WORTH: Final = 1.001
"""Clusters of equal size that say as much; a single one says nothing of how much they differ."""


class Average(NamedTuple):
    """An estimate with its interval of 90 %; `low` and `high` are None where too few answers tell."""

    value: float
    low: float | None = None
    high: float | None = None


def per_unit(clusters: Sequence[Pair]) -> Average | None:
    """What all clusters took together over all their units; None without units.

    The ratio estimator with its linearised variance between clusters (Cochran, "Sampling Techniques", 1977),
    on a logarithmic scale, with Student's quantile for Kish's effective number of clusters less one.
    """
    units = math.fsum(x for _, x in clusters)
    value = math.fsum(y for y, _ in clusters) / units if units > 0 else 0.0
    if value <= 0:
        return None
    worth = units * units / math.fsum(x * x for _, x in clusters)
    if worth < _LEAST_WORTH:
        return Average(value)
    squares = math.fsum((y - value * x) ** 2 for y, x in clusters)
    error = math.sqrt(worth / (worth - 1) * squares) / units
    half = min(student_90(worth - 1) * error / value, 50.0)
    return Average(value, value * math.exp(-half), value * math.exp(half))


def share(clusters: Sequence[Pair]) -> Figure | None:
    """Hits over tries, between 0 and 1; None without tries.

    Wilson's interval (`figures.rate`), with the design effect of tries in clusters: what the clusters show
    of it, with what is assumed where they are few.
    """
    hits, tries = math.fsum(y for y, _ in clusters), math.fsum(x for _, x in clusters)
    moments = Cluster(
        k=1,
        requests=len(clusters),
        x=tries,
        y=hits,
        xx=math.fsum(x * x for _, x in clusters),
        xy=math.fsum(x * y for y, x in clusters),
        yy=math.fsum(y * y for y, _ in clusters),
    )
    return rate(hits, tries, design([moments], [Position(tries, tries, hits)]))


def length(counts: Mapping[str, float], k: int) -> Average | None:
    """Tokens per step of requests with one k, by their counters; None where nothing was allowed to draft.

    Its variance is that of single steps with this acceptance, times the design effect of the requests they
    belong to; it lies between 1 and k + 1.
    """
    value, found = measured_length(counts), level(counts)
    if value is None:
        return None
    steps = counts["steps"] - counts.get("steps:0", 0.0)
    variances = accepted_variances(chances(found.counted), k)
    if not variances:
        return Average(value)
    error = math.sqrt(found.design.effect * variances[-1] / steps)
    half = NORMAL_90 * widening(found.design.freedom) * error
    return Average(value, max(1.0, value - half), min(k + 1.0, value + half))


def middle(values: Sequence[float]) -> Average | None:
    """The median, between the order statistics that enclose it with 90 %, whatever the distribution.

    As many values lie below a median as heads fall among so many coins. Fewer than five enclose none.
    Source: H. A. David, H. N. Nagaraja, "Order Statistics" (2003), 7.1.
    """
    if not values:
        return None
    ordered, n = sorted(values), len(values)
    below, rank = 1, 0
    while _TAILS * below <= 2**n:
        rank += 1
        below += math.comb(n, rank)
    if not rank:
        return Average(median(ordered))
    return Average(median(ordered), ordered[rank - 1], ordered[n - rank])
