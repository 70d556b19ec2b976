"""Passes that engines timed by themselves, beside those of their traffic."""

from __future__ import annotations

from typing import Final

from policies.cost.fit import SEED_ERROR, Fit, fit
from policies.cost.moments import StepMoments
from policies.cost.steps import StepLoad, StepTime

_MOST_REPLICAS: Final = 8


class Rehearsals:
    """What engines timed by themselves (`replicas.rehearsal`), beside the passes of traffic.

    Traffic shows few kinds of passes at first, and some kinds never. So the rehearsed ones are evidence like
    any other, of which there is never more. Their clock is set by the traffic: it tells how fast an engine is
    now, they tell how its passes compare.
    """

    def __init__(self, guess: StepTime) -> None:
        self._guess = guess
        self._of: dict[str, StepMoments] = {}
        self._total = StepMoments.empty()
        self._found = guess

    def note(self, replica: str, moments: StepMoments) -> None:
        """Take in what a replica says in every status; of those that are gone the last ones are kept."""
        known = self._of.pop(replica, None)
        self._of[replica] = moments
        if known is not None and known.to_list() == moments.to_list():
            return
        if len(self._of) > _MOST_REPLICAS:
            del self._of[next(iter(self._of))]
        self._total = StepMoments.empty()
        for one in self._of.values():
            self._total = self._total.merged(one)
        self._found = fit(self._total, self._guess).step_time

    def fitted(self, traffic: StepMoments) -> Fit:
        """The step time by both; on the guess's scale where there was no traffic."""
        guess_s, found_s = self._guess.plain_s(), self._found.plain_s()
        if not self._of or found_s <= 0:
            return fit(traffic, self._guess)
        usual = StepLoad(requests=1.0, context=traffic.usual_context())
        if usual.context <= 0:
            return Fit(self._found.times(guess_s / found_s), SEED_ERROR, 0.0)
        slower = fit(traffic, self._found).step_time.seconds(usual) / self._found.seconds(usual)
        both = fit(traffic.merged(self._total.slowed(slower)), self._found)
        return both._replace(steps=traffic.steps)
