"""One measure of some requests: what it took, what it would have taken plainly, and what follows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

from policies.savings.estimate import Interval, plain_time, together
from policies.savings.strata import Stratum
from policies.savings.sums import Moments, Sums, Tally


class Saving(NamedTuple):
    """Of one measure: what routed requests took, and would have taken plainly."""

    taken_s: float
    vanilla_s: float
    vanilla_interval: Interval

    @property
    def saved_s(self) -> float:
        """Seconds."""
        return self.vanilla_s - self.taken_s

    @property
    def saved_s_interval(self) -> Interval:
        """Of these."""
        low, high = self.vanilla_interval
        return Interval(low - self.taken_s, high - self.taken_s)

    @property
    def speedup(self) -> float:
        """How many times as long they would have taken."""
        return self.vanilla_s / self.taken_s

    @property
    def speedup_interval(self) -> Interval:
        """Of that."""
        low, high = self.vanilla_interval
        return Interval(max(0.0, low) / self.taken_s, high / self.taken_s)

    @property
    def share(self) -> float:
        """The part of the plain time that was saved."""
        return 1.0 - self.taken_s / self.vanilla_s

    @property
    def share_interval(self) -> Interval | None:
        """Of that; None where the plain time may be 0."""
        low, high = self.vanilla_interval
        return Interval(1.0 - self.taken_s / low, 1.0 - self.taken_s / high) if low > 0 else None


class Routed(NamedTuple):
    """Sums of one measure over requests that were not held out; `squares` as in `Tally`."""

    tokens: float
    seconds: float
    squares: float


def saving(
    parts: Iterable[Stratum],
    moments: Callable[[Sums], Moments],
    routed: Callable[[Tally], Routed],
    confidence: float,
) -> Saving | None:
    """The saving over all strata; None where one of them says nothing.

    `moments` are those of what was held out, `routed` the sums of what was not.
    """
    taken_s, plain = [], []
    for part in parts:
        asked = routed(part.routed.tally)
        if not asked.tokens:
            continue
        found = plain_time(moments(part.holdout), part.held_out, asked.tokens, asked.squares)
        if found is None:
            return None
        plain.append(found)
        taken_s.append(asked.seconds)
    if not plain or math.fsum(taken_s) <= 0:
        return None
    whole = together(plain)
    if whole.seconds <= 0:
        return None
    return Saving(math.fsum(taken_s), whole.seconds, whole.interval(confidence))


def decode_time(tally: Tally) -> Routed:
    """Tokens after the first, and the seconds they took."""
    return Routed(tally.decode_tokens, tally.decode_s, tally.decode_squares)


def completion_time(tally: Tally) -> Routed:
    """Output tokens, and the seconds from the receipt of the requests."""
    return Routed(tally.output_tokens, tally.completion_s, tally.output_squares)
