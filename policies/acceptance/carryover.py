"""What steps counted with one k say of another, when requests differ: they weigh requests differently.

A rate that is pooled over steps weighs a request by the steps it took. With a larger k a request of good
drafts takes far fewer of them, so the same requests weigh differently in the rates of another k. Wanted is
E[L_k] as tokens over steps with k itself. What positions counted with k' say of it, L_k', is off by

    E[L_k | counted with k'] / E[L_k] = 1 - Cov(X, Y / X) / E[Y],   X = 1 / L_k(alpha), Y = 1 / L_k'(alpha)

over requests, by tokens. To second order in how much requests differ that is exp(s_k * (s_k - s_k')), with
s_k the standard deviation of ln L_k between requests. The part of the variance of one step that lies between
requests is their correlation rho, which the design effect says, hence s_k^2 = rho * Var(a | k) / L_k^2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from policies.acceptance.design import PRIOR_REQUESTS
from policies.acceptance.estimates import Curves

_LEFT: Final = 0.5
"""Standard deviation of what is left of the error, as a part of its correction: higher orders, mostly."""


def carried(
    curves: Curves,
    *,
    asked: Sequence[tuple[int, float]],
    correlation: float,
    requests: float,
    steps: float,
) -> Curves:
    """The curves, corrected for the k that the steps were counted with, and for how little that is known.

    `asked` are the shares of the steps that were counted with each k, `correlation` that of two steps of one
    request. `requests` and `steps` are those counted: few requests are mostly prior, which assumes that all
    are alike, and of a request's last step less is seen than of the others, as if it had taken one less.
    """
    if not asked or requests <= 0 or steps <= 0:
        return curves
    lengths, deviations, drafted = list(curves.lengths), list(curves.deviations), curves.drafted
    between = _between(lengths, correlation)
    last = len(lengths) - 1
    seen = 1.0 - min(1.0, requests / steps)
    counted = square = 0.0
    for k, share in asked:
        other = seen * between[k if k < last else last]
        counted += share * other
        square += share * other * other
    weight = requests / (requests + PRIOR_REQUESTS)
    # The mean square distance from `here` of what the steps were counted with is that from their mean, and
    # their spread around it.
    spread = max(0.0, square - counted * counted)
    previous = 1.0
    for k in range(1, last + 1):
        length, here = lengths[k], between[k]
        part = weight * here
        off = here - counted
        moved = length * math.exp(-part * off)
        # No larger k brings fewer tokens, and none more than it drafts.
        if moved < previous:
            moved = previous
        if moved > 1.0 + drafted[k]:
            moved = 1.0 + drafted[k]
        left = _LEFT * part * math.sqrt(off * off + spread)
        deviations[k] = moved * math.hypot(deviations[k] / length, left)
        lengths[k] = previous = moved
    return Curves(tuple(lengths), tuple(deviations), drafted, curves.proposing)


def _between(lengths: Sequence[float], correlation: float) -> list[float]:
    """The deviation of ln L_k between requests, by k from 0.

    With R_i = L_i - L_i-1 the chance to accept at least i tokens: E[a] = sum of R_i, E[a^2] = sum of
    (2 i - 1) R_i.
    """
    found = [0.0]
    second, previous = 0.0, 1.0
    for k in range(1, len(lengths)):
        length = lengths[k]
        second += (2 * k - 1) * (length - previous)
        extra = length - 1.0
        variance = second - extra * extra
        found.append(math.sqrt(correlation * variance) / length if variance > 0.0 else 0.0)
        previous = length
    return found
