"""How much the steps of correlated requests are worth, and how well that itself is known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from policies.acceptance.estimates import NORMAL_90
from policies.evidence import Cluster, Position, clusters, positions

PRIOR_CORRELATION: Final = 0.15
"""Assumed correlation of two steps of one request: alpha differs between requests by about 0.15."""
PRIOR_REQUESTS: Final = 2.0
"""How many requests that assumption is worth."""

# Student's 95 % points in powers of 1/freedom (Abramowitz, Stegun, "Handbook", 26.7.5), for z = NORMAL_90.
_Z = NORMAL_90
_STUDENT: Final = (
    (_Z**3 + _Z) / 4,
    (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / 96,
    (3 * _Z**7 + 19 * _Z**5 + 17 * _Z**3 - 15 * _Z) / 384,
)


class Design(NamedTuple):
    """The design effect of counters, what it says of single steps, and the requests it was estimated from.

    `effect`: how many steps are worth one independent step, at least 1. `correlation`: of two steps of one
    request. `freedom`: degrees of freedom, requests of equal length that would be worth as much, less the
    rates that were estimated from them.
    """

    effect: float
    correlation: float
    freedom: float


NO_DESIGN: Final = Design(1.0, PRIOR_CORRELATION, 0.0)


def design(
    groups: Iterable[Cluster], counted: Sequence[Position], correlation: float = PRIOR_CORRELATION
) -> Design:
    """The design effect from request moments (`groups`) and positions (`counted`).

    The variance of accepted tokens per step, requests being clusters (Cochran, "Sampling Techniques", 1977:
    the ratio estimator's), over the one independent steps of the same acceptance would have (Kish, "Survey
    Sampling", 1965). Requests are compared with those of the same k, since k alone moves the ratio:

        D = N / (N - G) * sum over requests of (y - x * Y_k / X_k)^2 / sum over k of X_k * Var(a | k)

    for N requests in G groups, one for each k. A long request draws the rate toward itself, so N is not
    their number but Kish's effective one, sum over k of X_k^2 / (sum of x^2). Few requests are pulled toward
    what is assumed, which is a `correlation` between the steps of a request: D_0 = 1 + correlation * (s - 1),
    where s is the mean number of steps of the request that a step belongs to (Kish). Long answers thereby
    start from a large effect.
    """
    variances: Sequence[float] = ()
    squares = independent = requests = freedom = size = steps = 0.0
    for group in groups:
        x = group.x
        if x <= 0:
            continue
        size += group.xx
        steps += x
        worth = _worth(group)
        if worth > 1 and counted:
            variances = variances or accepted_variances(chances(counted), len(counted))
            squares += _squares(group)
            independent += x * variances[min(group.k, len(variances)) - 1]
            requests += worth
            freedom += worth - 1
    if steps <= 0:
        return Design(1.0, correlation, 0.0)
    effect = _blended(requests * squares, independent, freedom, 1.0 + correlation * (size / steps - 1.0))
    found = (effect - 1.0) * steps / (size - steps) if size > steps else correlation
    return Design(effect, min(1.0, found), freedom)


def design_of(group: Cluster, variance: float, correlation: float) -> tuple[float, float]:
    """Design effect and degrees of freedom of requests with one k; `variance` is that of single steps."""
    if group.x <= 0:
        return 1.0, 0.0
    assumed = 1.0 + correlation * (group.xx / group.x - 1.0)
    worth = _worth(group)
    if worth <= 1:
        return max(1.0, assumed), 0.0
    return _blended(worth * _squares(group), group.x * variance, worth - 1, assumed), worth - 1


def design_effect(counts: Mapping[str, float]) -> float:
    """The design effect of counters as `evidence.counters` makes them, at least 1; see `design`."""
    return design(clusters(counts), positions(counts)).effect


def chances(counted: Sequence[Position]) -> list[float]:
    """The chance of each position, given the one before, with half a hit and half a miss beside the counts.

    Rates of 0 and 1 would leave no variance to compare with.
    """
    return [(accepted + 0.5) / (reached + 1.0) for reached, _, accepted in counted]


def accepted_variances(of_positions: Sequence[float], highest: int) -> list[float]:
    """Variance of the accepted tokens of one step with cap k = 1..highest, by the chances of each position.

    With R_i the chance to accept at least i tokens: E[a] = sum of R_i, E[a^2] = sum of (2 i - 1) R_i.
    """
    found = []
    mean = second = 0.0
    reach = 1.0
    last = len(of_positions) - 1
    for i in range(highest if of_positions else 0):
        chance = of_positions[i if i < last else last]
        if chance < 1.0:
            reach *= chance
        mean += reach
        second += (2 * i + 1) * reach
        found.append(max(0.0, second - mean * mean))
    return found


def widening(freedom: float) -> float:
    """Student's 95 % point with so many degrees of freedom over the normal's: how much few requests widen.

    The design effect is estimated itself. `freedom` comes on top of what the assumption is worth.
    """
    total = freedom + PRIOR_REQUESTS
    first, second, third = _STUDENT
    return 1.0 + (first + (second + third / total) / total) / total / NORMAL_90


def _worth(group: Cluster) -> float:
    """How many requests of equal length say as much of a ratio as these do."""
    return min(group.requests, group.x * group.x / group.xx) if group.xx > 0 else 0.0


def _squares(group: Cluster) -> float:
    """Sum over requests of (y - x Y / X)^2."""
    rate = group.y / group.x
    return max(0.0, group.yy - 2 * rate * group.xy + rate * rate * group.xx)


def _blended(clustered: float, independent: float, freedom: float, assumed: float) -> float:
    """The effect that requests show, by their degrees of freedom, with the assumed one; at least 1."""
    if independent <= 0 or freedom <= 0:
        return max(1.0, assumed)
    effect = (clustered / independent + PRIOR_REQUESTS * assumed) / (freedom + PRIOR_REQUESTS)
    return max(1.0, effect) if math.isfinite(effect) else max(1.0, assumed)
