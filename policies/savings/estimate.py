"""What routed requests would have taken, had they been decoded plainly: a weighted ratio, and how sure it is.

Every request i of a window that might have been held out was, by an independent draw of probability h_i
(Z_i = 1). Y_i is what it takes plainly, x_i its tokens, R the requests that were not held out. What they took
is known; asked for is V = sum over R of Y_i. Decode time is nearly linear in tokens, so

    r = sum Z w Y / sum Z w x,   w = (1 - h) / h        V estimated by r * sum over R of x

a ratio estimator with Horvitz-Thompson weights, turned into odds since only R is asked for (Hajek 1971;
Saerndal, Swensson, Wretman, "Model Assisted Survey Sampling", 1992). It is right whether or not times are
linear in tokens: if they are not, it is only less sure. With the residuals E = Y - r x its error is

    sum E (Z / h - h), to first order, with variance  sum E^2 (1 - h) / h,  estimated by  sum Z (g E)^2,
                                                                            g = w / sqrt(1 - h)

over the draws alone: the window's own requests are asked about, so that busy hours, slow tenants and long
answers are what they are, and nothing need be independent but our own draws. (1 - h) in it is the
finite-population correction.

Five corrections for few held-out requests, skewed times and skewed lengths:

- Residuals are too small where a request weighs much in r; they are divided by 1 - its share of sum g x
  (the jackknife's HC3: MacKinnon and White 1985), by the expansion up to squares.
- n / (n - 1).
- Where those that were held out have fewer long answers than all, the variance is raised by the ratio of what
  sum (g x)^2 should be, which R tells, and what it is (Wu, "Estimation of variance of the ratio estimator",
  Biometrika 1982, with the squares of x for residuals that grow with it; never lowered).
- Student's quantile with as many degrees of freedom as the kurtosis of the residuals leaves (Satterthwaite).
- A bound moves outward by what skewness does to Student's statistic (Johnson, "Modified t tests and
  confidence intervals for asymmetrical populations", JASA 1978); never inward, where it would trust a third
  moment of few requests.

Everything is a polynomial of degree four in tokens and seconds, so sums of powers are enough.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, NamedTuple

from policies.off_policy.estimator import student
from policies.savings.sums import Moments

_LEAST_REQUESTS: Final = 2
_MOST_SHIFT: Final = 0.5
"""The correction for skewness moves a bound by at most this part of the interval's half."""


class Interval(NamedTuple):
    """The bounds between which the truth lies, with the stated confidence."""

    low: float
    high: float


class PlainTime(NamedTuple):
    """Seconds that requests would have taken plainly, and the moments of that estimate's error."""

    seconds: float = 0.0
    variance: float = 0.0
    third: float = 0.0
    """Third central moment."""
    doubt: float = 0.0
    """The variance of `variance` itself."""

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the variance: twice its square over its own variance."""
        return 2.0 * self.variance**2 / self.doubt if self.doubt > 0 else math.inf

    def interval(self, confidence: float) -> Interval:
        """The interval of the seconds."""
        if self.variance <= 0:
            return Interval(self.seconds, self.seconds)
        quantile = student(confidence, self.freedom)
        half = quantile * math.sqrt(self.variance)
        shift = self.third / (6.0 * self.variance) * (1.0 + 2.0 * quantile**2)
        return Interval(
            self.seconds - half + max(-_MOST_SHIFT * half, min(0.0, shift)),
            self.seconds + half + min(_MOST_SHIFT * half, max(0.0, shift)),
        )


def plain_time(
    held_out: Moments, requests: float, routed_x: float, routed_squares: float
) -> PlainTime | None:
    """What requests of `routed_x` tokens would have taken plainly; see `Tally` for their squares.

    `held_out` are the moments of `requests` that were, of the same stratum. None with fewer than two of them,
    which say nothing of how sure they are.
    """
    if held_out.weighted_x <= 0 or requests < _LEAST_REQUESTS:
        return None
    rate = held_out.weighted_y / held_out.weighted_x
    scale = routed_x / held_out.weighted_x
    whole = held_out.power(1, 0)
    squares = (
        _residuals(held_out, rate, 2)
        + 2.0 * _residuals(held_out, rate, 2, 1) / whole
        + 3.0 * _residuals(held_out, rate, 2, 2) / whole**2
    )
    few = requests / (requests - 1.0) * max(1.0, routed_squares / held_out.power(2, 0))
    variance = max(0.0, squares) * few * scale**2
    fourth = max(0.0, _residuals(held_out, rate, 4)) * (few * scale**2) ** 2
    return PlainTime(
        seconds=rate * routed_x,
        variance=variance,
        third=_residuals(held_out, rate, 3) * scale**3,
        doubt=max(fourth - variance**2 / requests, 2.0 * variance**2 / (requests - 1.0)),
    )


def together(parts: Iterable[PlainTime]) -> PlainTime:
    """Strata added up: their draws are independent."""
    return PlainTime(*map(math.fsum, zip(*parts, strict=True)))


def _residuals(moments: Moments, rate: float, degree: int, leverage: int = 0) -> float:
    """The sum of (g x)^leverage (g (y - rate x))^degree."""
    return math.fsum(
        math.comb(degree, j) * (-rate) ** (degree - j) * moments.power(degree - j + leverage, j)
        for j in range(degree + 1)
    )
