"""How an engine makes room for one with another drafter: it takes no more requests, ends those it has, goes.

Ray Serve then starts its successor in a process of its own, which loads what the profile names by then. Where
`draft_model` is a link that was pointed elsewhere, that is the new drafter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from replicas.frames import Engine, ReplicaError
from replicas.profiles import Profile

_LOOK_S: Final = 0.1


def resolved(profile: Profile) -> Profile:
    """The profile with the folder that its `draft_model` stands for now: read from there, it is one whole."""
    folder = profile.draft_model
    if folder is None or not Path(folder).is_dir():
        return profile
    return profile.model_copy(update={"draft_model": str(Path(folder).resolve())})


class Renewal:
    """Whether one replica is making room."""

    def __init__(
        self,
        replica: str,
        profile: Profile,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._replica = replica
        self._profile = profile
        self._sleep = sleep
        self._going: asyncio.Task[None] | None = None
        self._gone = False

    @property
    def leaving(self) -> bool:
        """Whether it takes no requests any more."""
        return self._going is not None

    def account(self) -> dict[str, Any]:
        """Who this is, and the drafter it has loaded."""
        return {"replica": self._replica, "drafter": self._profile.draft_model, "leaving": self.leaving}

    def begin(self, engine: Engine, drain_s: float) -> None:
        """End the engine once it is idle, or in `drain_s` seconds."""
        if self._going is None:
            self._going = asyncio.create_task(self._leave(engine, drain_s), name="leave")

    def check(self) -> None:
        """Raise ReplicaError while it takes no requests."""
        if self.leaving:
            raise ReplicaError("it makes room for an engine with the new drafter", replica=self._replica)

    def check_health(self) -> None:
        """Raise ReplicaError when Serve should replace the replica."""
        if self._gone:
            raise ReplicaError("it has made room for its successor", replica=self._replica)

    async def _leave(self, engine: Engine, drain_s: float) -> None:
        left_s = drain_s
        while left_s > 0 and engine.load().running:
            await self._sleep(_LOOK_S)
            left_s -= _LOOK_S
        try:
            await asyncio.to_thread(engine.shutdown)
        finally:
            self._gone = True
