"""How far predictions are from what was measured afterwards."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

from policies.cost.decayed import Ratios

_HALF_LIFE_S: Final = 1800.0
_MOST: Final = math.log(10.0)
_PRIOR_REQUESTS: Final = 4.0
_KEPT: Final = 0.5 ** (1 / 100)
"""A hundred requests later a prediction weighs half: the model it came from has learned since."""


class Accuracy(NamedTuple):
    """Predicted over measured, of recent requests."""

    ratio: float
    """Geometric mean: above 1 predicts too long."""
    spread: float
    """Standard deviation of the ratio's logarithm around that mean."""
    requests: float


class PredictionError:
    """Keeps ln(predicted / measured) per profile: its mean and spread, decayed by time and by requests.

    A single request counts no more than a ratio of 10, so that one broken clock does not hide the rest.
    """

    def __init__(self, *, half_life_s: float = _HALF_LIFE_S) -> None:
        self._means: Ratios[str] = Ratios(half_life_s, max_keys=256)
        self._squares: Ratios[str] = Ratios(half_life_s, max_keys=256)

    def observe(self, profile: str, *, predicted_s: float, measured_s: float, now_s: float) -> bool:
        """Note one request; False for times that cannot be true, which count nowhere."""
        if not (0 < predicted_s < math.inf and 0 < measured_s < math.inf):
            return False
        ratio = max(-_MOST, min(_MOST, math.log(predicted_s / measured_s)))
        self._means.add(profile, ratio, 1.0, now_s, kept=_KEPT)
        self._squares.add(profile, ratio * ratio, 1.0, now_s, kept=_KEPT)
        return True

    def accuracy(self, profile: str, now_s: float) -> Accuracy | None:
        """None before any request."""
        requests = self._means.weight(profile, now_s)
        if requests <= 0:
            return None
        mean = self._means.toward(profile, 0.0, 0.0, now_s)
        square = self._squares.toward(profile, 0.0, 0.0, now_s)
        return Accuracy(math.exp(mean), math.sqrt(max(0.0, square - mean * mean)), requests)

    def items(self, now_s: float) -> Iterator[tuple[str, Accuracy]]:
        """The accuracy of every profile that was observed."""
        for profile in self._means:
            if (found := self.accuracy(profile, now_s)) is not None:
                yield profile, found

    def error(self, profile: str, prior: float, now_s: float) -> float:
        """Root mean square of the log-ratio, bias included; `prior` before there are requests."""
        return math.sqrt(self._squares.toward(profile, prior * prior, _PRIOR_REQUESTS, now_s))
