"""Tests that may be looked at after every request: always-valid evidence against "not worse".

A fixed-size test that is repeated as data arrive rejects a true hypothesis sooner or later. A mixture of
likelihood ratios does not: under the hypothesis it is a supermartingale that starts at 1, so by Ville's
inequality it ever reaches 1/e with probability at most e. Sources: Robbins, "Statistical Methods Related to
the Law of the Iterated Logarithm" (1970); Johari, Koomen, Pekelis, Walsh, "Always Valid Inference" (2022);
Howard, Ramdas, McAuliffe, Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences" (2021).
"""

from __future__ import annotations

import math
from typing import Final

_FAR_LEFT: Final = -30.0
_ROUNDS: Final = 25
_RATE_RATIOS: Final = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
"""How many times more failures are looked for, all with the same weight."""


def normal_evidence(z: float, information: float, scale: float) -> float:
    """Logarithm of the evidence that an effect is above 0, from its estimate in standard errors.

    The one-sided normal mixture. With information I = 1/variance of the estimate, score S = z sqrt(I), and
    the effect t mixed over a normal of deviation s = `scale` cut at 0:

        integral of exp(t S - t^2 I / 2) over t > 0
            = 2 (1 + s^2 I)^(-1/2) exp(r z^2 / 2) Phi(z sqrt(r)),   r = s^2 I / (1 + s^2 I)

    Every t > 0 makes the integrand a supermartingale for every true effect of 0 or below.
    """
    growth = scale * scale * information
    weight = growth / (1.0 + growth)
    return (
        math.log(2.0)
        - 0.5 * math.log1p(growth)
        + weight * z * z / 2.0
        + _log_normal_cdf(z * math.sqrt(weight))
    )


def boundary(information: float, error: float, scale: float) -> float:
    """How many standard errors above 0 an estimate is surely above it, with probability of `error` at most.

    Of ever being wrong, that is, at whatever time one looks: an estimate less so many standard errors is an
    always-valid lower bound, and one plus so many an upper bound, each for itself.
    """
    growth = scale * scale * information
    if growth <= 0:
        return math.inf
    wanted = -math.log(error)
    low, high = 0.0, math.sqrt((2.0 * wanted + math.log1p(growth)) * (1.0 + growth) / growth)
    for _ in range(_ROUNDS):
        middle = (low + high) / 2.0
        if normal_evidence(middle, information, scale) < wanted:
            low = middle
        else:
            high = middle
    return high


def rare_evidence(candidate: float, main: float, fraction: float) -> float:
    """Logarithm of the evidence that events are more frequent in the candidate's share of the requests.

    Given that an event happened, it is the candidate's with probability `fraction`, its share of the
    requests, if its rate is the same; with r times the rate, with r f / (r f + 1 - f). Mixed over some r, the
    likelihood ratio of all events so far is a supermartingale for every rate that is not higher; nothing is
    approximated, so that it holds for the first failure too. (Lindon, Malek, "Anytime-valid inference for
    multinomial count data", 2022, with a mixture of points.)
    """
    if candidate + main <= 0 or not 0.0 < fraction < 1.0:
        return 0.0
    logs = []
    for ratio in _RATE_RATIOS:
        whole = ratio * fraction + 1.0 - fraction
        logs.append(candidate * math.log(ratio / whole) - main * math.log(whole))
    most = max(logs)
    return most + math.log(math.fsum(math.exp(value - most) for value in logs) / len(logs))


def _log_normal_cdf(x: float) -> float:
    if x < _FAR_LEFT:
        return -x * x / 2.0 - math.log(-x * math.sqrt(2.0 * math.pi))
    return math.log(0.5 * math.erfc(-x / math.sqrt(2.0)))
