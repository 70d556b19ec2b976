"""How fast pools are beside one another, where a calibration has said it.

A calibration measures all pools in turn over many minutes, a service that starts from it has seen each for a
few moments. Other load slows whatever runs in a moment, so the first steps tell how fast the machine is, and
next to nothing of whether one pool has become slower than another. All pools therefore share the pace of all
their steps, and each its own as far as its steps reach:

    log believed = (1 - w) log shared + w log own,    w = n / (n + 2000 / (1 + (d / 0.1)^2))

with n steps of the pool and d = log(own / shared). That is the mean of a normal observation, whose moments
scatter by a tenth and last some hundred steps, under a prior with the tails of Cauchy's distribution, taken
at d: a few per cent are believed after thousands of steps, twice the time after some hundred.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, NamedTuple

_HELD_STEPS: Final = 2000.0
"""Steps in which half of a small difference is believed."""
_SCATTER: Final = 0.1
"""What steps of one moment are off by, all of them alike, as a part of their time."""


class Pace(NamedTuple):
    """How a pool does beside its calibration.

    Attributes:
        slower: Its plain pass over that of the calibration.
        steps: Behind it.
    """

    slower: float
    steps: float

    @property
    def known(self) -> bool:
        """Whether it says anything."""
        return self.slower > 0 and self.steps > 0


def shared_pace(paces: Iterable[Pace]) -> float:
    """The pace of all steps together: their geometric mean; 1 where there are none."""
    told = [pace for pace in paces if pace.known]
    steps = sum(pace.steps for pace in told)
    if not steps:
        return 1.0
    return math.exp(sum(pace.steps * math.log(pace.slower) for pace in told) / steps)


def believed_pace(own: Pace, shared: float) -> float:
    """The pace to decide with; the shared one where the pool has no steps."""
    if not own.known:
        return shared
    apart = math.log(own.slower / shared)
    held = _HELD_STEPS / (1.0 + (apart / _SCATTER) ** 2)
    return shared * math.exp(apart * own.steps / (own.steps + held))
