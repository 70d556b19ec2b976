"""Learning from what replicas answer: endings become steps, and what cannot be true is logged once."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from policies.cells import Origin
from policies.evidence import RequestSteps
from policies.learner import Drafter, Evidence, Learner
from replicas.frames import Ending
from router.background import repeated

_log = logging.getLogger(__name__)

_VALUE: Final = re.compile(r"'[^']*'|-?\b(\d+(\.\d+)?|nan|inf)\b")
_MAX_KINDS: Final = 1000
_REFRESH_S: Final = 0.05


class Learning:
    """Counts requests by their endings. What is believed, `learner` says."""

    def __init__(self, evidence: Evidence, drafters: Mapping[str, Drafter]) -> None:
        self.learner = Learner(evidence, drafters)
        self.estimate = self.learner.estimate
        self.believed = self.learner.believed
        self._logged: set[tuple[str, str]] = set()

    @property
    def rejected(self) -> int:
        """Outcomes whose counts could not be true; they count nowhere."""
        return self.learner.rejected

    def record(self, profile: str, origin: Origin, k: int, ending: Ending, now_s: float) -> None:
        """Count one completed request in its task's cell and its tenant's. Never raises, never waits."""
        if not ending.counted:
            return
        steps = RequestSteps(k, ending.per_step_drafted, ending.per_step_accepted)
        if not self.learner.record(profile, origin, steps, now_s):
            self._complain(profile, steps.problem() or "impossible time or half-life")

    def record_replay(
        self, profile: str, origin: Origin, counters: Mapping[str, float], now_s: float
    ) -> None:
        """Count what the copying drafter of `profile` would have done for a finished answer."""
        if not self.learner.record_replay(profile, origin, counters, now_s):
            self._complain(profile, "impossible counters of a replay")

    async def keep_fresh(
        self,
        clock: Callable[[], float],
        *refreshes: Callable[[float], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Read tasks anew as they come due, a few at a time, so that no request has to wait for it.

        `refreshes` are called as well, with the time.
        """

        async def read() -> None:
            now_s = clock()
            self.learner.refresh(now_s)
            for refresh in refreshes:
                refresh(now_s)

        await repeated("estimates", read, _REFRESH_S, sleep)

    def _complain(self, profile: str, problem: str) -> None:
        """Log the first problem of a kind: an engine that lies does so with every request."""
        kind = (profile, _VALUE.sub("#", problem))
        if kind in self._logged or len(self._logged) >= _MAX_KINDS:
            return
        self._logged.add(kind)
        _log.warning(
            "step counts of a request on %s ignored: %s (further ones like it are counted, not logged)",
            profile,
            problem,
        )
