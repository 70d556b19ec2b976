"""Puts the dashboard together: what it is told, what it serves, and its background task."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from policies.cost import PredictionError
from policies.drift import DriftEvent
from router.background import repeated
from router.canary_watch import CanaryState
from router.dashboard.history import EVERY_S
from router.dashboard.live import Live
from router.dashboard.pages import Pages
from router.dashboard.state import About, Sources, State
from router.dashboard.tally import Activity, seen
from router.dashboard.timeline import Timeline
from router.outcomes import Outcome
from router.pools import Pools

_LOOK_S: Final = 1.0

Handler = Callable[[Request], Awaitable[Response]]


class Dashboard:
    """One router's dashboard. Receives every outcome and every drift event."""

    def __init__(
        self,
        sources: Sources,
        about: About,
        *,
        pools: Pools,
        predictions: PredictionError,
        canary: Callable[[], CanaryState],
    ) -> None:
        self._clock = sources.clock
        self._predictions = predictions
        self._activity = Activity()
        self._timeline = Timeline(
            pools=pools, policy=lambda: sources.policies.state, canary=canary, clock=sources.clock
        )
        self.on_drift: Callable[[DriftEvent], None] = self._timeline.on_drift
        self.state = State(sources, about, self._activity, self._timeline)
        self._live = Live(self.state)
        self._pages = Pages()
        self._rounds = 0

    def routes(self, guarded: Callable[[Handler], Handler]) -> list[Route]:
        """The endpoints; `guarded` makes a handler check who asks. The page itself has nothing to hide."""
        return [
            *self._pages.routes(),
            Route("/admin/v1/live", guarded(self._live.get), methods=["GET"]),
        ]

    def on_outcome(self, outcome: Outcome) -> None:
        """Count one request."""
        found = seen(outcome, self._predictions.accuracy)
        self._activity.add(found, self._clock())
        self.state.note(found.key, found.arm[1])

    async def run(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Look for events every second and sample every ten, for as long as the task lives."""
        await repeated("dashboard", self.step, _LOOK_S, sleep)

    async def step(self) -> None:
        """One second's work."""
        self._timeline.look()
        if self._rounds % round(EVERY_S / _LOOK_S) == 0:
            self.state.sample()
        self._rounds += 1
