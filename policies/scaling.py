"""How many engines a pool needs: what is asked of it, and how many keep as busy with that as they should.

The demand on a pool is in requests that are decoded at once, and adds up over routers:

    demand  = max(work, in_flight) + waiting * share + headroom * sum of plain work of the pools that draft

`work` is the forecast of the last minute (`policies.forecast`: rate times stay); requests in flight stand in
for it while too little was seen, or stays were misjudged. `waiting` are the requests in line at the router,
of which a pool gets its share of all work. Plain work is what requests that were sent to other pools would be
here, decoded plainly: `headroom` of it is kept free for the hour in which nobody drafts.

    engines = ceil(demand / (slots * target_load))

rounded up, so that pools grow at once; they shrink where the smaller size would do with a reserve of `SLACK`.
Time (`upscale_delay_s`, `downscale_delay_s`) is the autoscaler's, which calls this again and again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

from policies.decide.context import Decision
from policies.forecast import SHORT_S, Rates

SLACK: Final = 0.15
"""Part of a smaller pool's target that must be free before the pool shrinks: demand that only trembles moves
no engine."""
_ROUNDING: Final = 1e-9


class PoolLoad(NamedTuple):
    """What is known of a pool besides its forecast.

    Attributes:
        in_flight: Requests this router has there.
        drafts: Whether its engines have a drafter.
        headroom: Part of the other pools' plain work that it could take beside its own.
    """

    in_flight: int
    drafts: bool
    headroom: float = 0.0


class Sizing(NamedTuple):
    """How large a pool may be, and how busy its engines should be.

    Attributes:
        slots: Requests one engine decodes at once.
        target_load: Part of the slots that should be in use, in (0, 1].
        least: Fewest engines, at least 1.
        most: Most engines.
    """

    slots: int
    target_load: float
    least: int
    most: int

    def engines(self, demand: float, now: int) -> int:
        """How many of them a demand of so many requests at once needs, where there are `now`."""
        enough = self._enough(demand, self.target_load)
        if enough < now:
            enough = min(now, self._enough(demand, self.target_load * (1.0 - SLACK)))
        return min(self.most, max(self.least, enough))

    def _enough(self, demand: float, load: float) -> int:
        return math.ceil(min(demand / (self.slots * load), float(self.most)) - _ROUNDING)


class PoolDemands:
    """What one router is asked for, by pool."""

    def __init__(self) -> None:
        self._own: Rates[str] = Rates(SHORT_S)
        self._plain: Rates[str] = Rates(SHORT_S)

    def decided(self, decision: Decision, now_s: float) -> None:
        """Count a request that was sent to the decision's pool."""
        score = decision.score
        if score is None:
            return
        self._own.decided(decision.profile, score.ttft_s + score.decode_s, now_s)
        self._plain.decided(decision.profile, plain_s(decision), now_s)

    def wanted(self, pools: Mapping[str, PoolLoad], *, waiting: int, now_s: float) -> dict[str, float]:
        """Requests that every pool should be able to decode at once, for what this router sends there."""
        own = self._own.forecast(now_s)
        plain = self._plain.forecast(now_s)
        work = {
            name: max(float(load.in_flight), own[name].work if name in own else 0.0)
            for name, load in pools.items()
        }
        total = sum(work.values())
        drafted = {
            name: max(float(load.in_flight), plain[name].work if name in plain else 0.0)
            for name, load in pools.items()
            if load.drafts
        }
        return {
            name: work[name]
            + waiting * (work[name] / total if total > 0 else 1.0 / len(pools))
            + load.headroom * sum(other for other_name, other in drafted.items() if other_name != name)
            for name, load in pools.items()
        }


def plain_s(decision: Decision) -> float:
    """Seconds that a request would keep an engine busy if it were decoded plainly.

    As predicted where a plain arm was compared, else at most: `length` tokens a step become as many steps,
    none of which takes longer than one that verifies drafts.
    """
    plain = [score.ttft_s + score.decode_s for score in decision.scores if score.k == 0]
    if plain:
        return min(plain)
    score = decision.score
    return 0.0 if score is None else score.ttft_s + score.decode_s * score.length
