"""How fast pools are beside one another, where a calibration has said it.

A calibration measures all pools in turn over many minutes, a service that starts from it has seen each for a
few moments. Other load slows whatever runs in a moment, so the first steps tell how fast the machine is, and
next to nothing of whether one pool has become slower than another. All pools therefore share the pace of all
their steps, and each its own as far as its steps reach:

    log believed = (1 - w) log shared + w log own,    w = n / (n + 2000 / (1 + (d / 0.1)^2))

with n steps of the pool and d = log(own / shared). That is the mean of a normal observation, whose moments
scatter by a tenth and last some hundred steps, under a prior with the tails of Cauchy's distribution, taken
at d: of a few per cent half is believed after 2,000 steps, of twice the time nearly all after some hundred.
Since steps are forgotten (`policies.cost.recorder`), little more than half of a small difference ever is.

A pool that looks slow gets no requests, so its steps count for less the longer ago the last one was, and it
is tried again. One that was measured to be fast stays so: what slows the others meanwhile is theirs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, NamedTuple

_HELD_STEPS: Final = 2000.0
"""Steps in which half of a small difference is believed."""
_SCATTER: Final = 0.1
"""What steps of one moment are off by, all of them alike, as a part of their time."""

_LEAST: Final = 1e-6
"""After a night without requests the pace is that of the evening."""


class Pace(NamedTuple):
    """How a pool does beside its calibration.

    Attributes:
        slower: Its plain pass over that of the calibration.
        steps: Behind it.
        lately: What they count for by now, from 1 while there are new ones down to 0.
    """

    slower: float
    steps: float
    lately: float = 1.0

    @property
    def known(self) -> bool:
        """Whether it says anything."""
        return self.slower > 0 and self.steps > 0


def shared_pace(paces: Iterable[Pace]) -> float:
    """The geometric mean of all steps' pace, late ones foremost; 1 where there are none."""
    told = [(pace.steps * max(pace.lately, _LEAST), pace.slower) for pace in paces if pace.known]
    if not told:
        return 1.0
    return math.exp(sum(steps * math.log(slower) for steps, slower in told) / sum(steps for steps, _ in told))


def believed_pace(own: Pace, shared: float) -> float:
    """The pace to decide with; the shared one where the pool has no steps."""
    if not own.known:
        return shared
    apart = math.log(own.slower / shared)
    held = _HELD_STEPS / (1.0 + (apart / _SCATTER) ** 2)
    steps = own.steps * (own.lately if apart > 0 else 1.0)
    return shared * math.exp(apart * steps / (steps + held))
