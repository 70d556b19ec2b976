"""How much faster than plain decoding requests were, with an interval, and what that stands on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from policies.savings import OTHERS, Cell, Traffic, claim
from router.dashboard.tally import Compared, Tally

_CONFIDENCE: Final = 0.90
_Z: Final = 1.6449
"""Half of a 90 % interval, in standard deviations of a normal distribution."""
_FEWEST: Final = 10

Basis = Literal["holdout", "predicted"]
"""Measured beside requests kept plain at random; or against the time predicted for plain decoding."""


class Speedup(NamedTuple):
    """Plain decode time over the decode time there was: 1.3 is 30 % faster. Intervals are of 90 %.

    `requests` are those compared, `plain` the held-out ones they were compared with (0: with predictions);
    `saved_s` is the decode time saved, with its interval.
    """

    estimate: float
    lower: float
    upper: float
    basis: Basis
    requests: int
    plain: int
    saved_s: tuple[float, float, float]


def speedup(tasks: Mapping[str, Tally]) -> Speedup | None:
    """Of tasks together: from the holdout where `policies.savings` claims anything, else from predictions.

    None while neither says enough.
    """
    return _held_out(tasks) or _predicted(tasks)


def _held_out(tasks: Mapping[str, Tally]) -> Speedup | None:
    cells = {
        Cell(OTHERS, task, group): sums
        for task, tally in tasks.items()
        for group, sums in tally.savings.items()
    }
    found = claim(cells, Traffic(0.0, 0.0), confidence=_CONFIDENCE)
    if found.decode is None:
        return None
    bounds, saved = found.decode.speedup_interval, found.decode.saved_s_interval
    return Speedup(
        found.decode.speedup,
        bounds.low,
        bounds.high,
        "holdout",
        int(found.tallies["routed"].requests),
        int(found.tallies["holdout"].requests),
        (found.decode.saved_s, saved.low, saved.high),
    )


def _predicted(tasks: Mapping[str, Tally]) -> Speedup | None:
    """The ratio R of sums of expected (x) and measured (y) seconds.

    Its variance is that of a ratio estimator, n / (n - 1) sum (x - R y)^2 / (sum y)^2, and what the
    correction of the expectations leaves in doubt; the interval is that of a logarithm.
    """
    whole = Compared()
    for tally in tasks.values():
        whole.merge(tally.compared)
    if whole.n < _FEWEST or whole.x <= 0 or whole.y <= 0:
        return None
    ratio = whole.x / whole.y
    residuals = max(0.0, whole.xx - 2 * ratio * whole.xy + ratio**2 * whole.yy)
    variance = whole.n / (whole.n - 1) * residuals / whole.x**2 + max(0.0, whole.doubt) / whole.x
    margin = math.exp(_Z * math.sqrt(variance))
    estimate, lower, upper = ratio, ratio / margin, ratio * margin
    saved = (whole.y * (estimate - 1), whole.y * (lower - 1), whole.y * (upper - 1))
    return Speedup(estimate, lower, upper, "predicted", int(whole.n), 0, saved)
