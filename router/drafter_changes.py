"""Notices that a pool drafts with another drafter than its evidence is of, so that the evidence is cut.

Engines change their drafter one by one (`router.rolling`), or all at once when the service starts anew. What
is learned in between is of both, so evidence is cut when all engines have the new one, not before. The store
says which drafter its evidence is of: of several routers the first one that sees the change cuts, for all.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final, Protocol

from replicas.frames import ReplicaError
from router.background import repeated
from router.drafter_store import DrafterStore
from router.pool_state import PoolState
from router.renewing import RenewablePool
from router.stats_protocol import StoreUnavailableError

_log = logging.getLogger(__name__)

_LOOK_S: Final = 5.0
_LIMIT_S: Final = 5.0
_TOLD_S: Final = 24 * 3600.0
"""What the store was told so long ago it is told again: it forgets what nobody tells it."""


class Watching(Protocol):
    """Whoever has expectations of what a profile's drafts are worth; see `router.drifting`."""

    async def redrafted(self, profile: str, now_s: float, *, cut: bool) -> None:
        """Begin anew with a profile; with `cut` its evidence is cut too, else another router does it."""
        ...


@dataclass(frozen=True, slots=True)
class _Settled:
    """The drafter that a profile's evidence is of, and when the store was told so."""

    drafter: str
    told_s: float = -math.inf


class DrafterChanges:
    """One router's look at the drafters of its pools, every few seconds. `clock` gives unix seconds."""

    def __init__(
        self, pools: Iterable[PoolState], watching: Watching, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._pools = tuple(state for state in pools if state.profile.draft_model is not None)
        self._watching = watching
        self._clock = clock
        self._settled: dict[str, _Settled] = {}

    def evidence_of(self, profile: str) -> str | None:
        """The drafter that a profile's evidence is of, by its folder's name; None while nobody knows."""
        settled = self._settled.get(profile)
        return None if settled is None else settled.drafter

    async def run(
        self, store: DrafterStore, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> None:
        """Look for as long as the task lives."""
        await repeated("drafters", lambda: self.look(store), _LOOK_S, sleep)

    async def look(self, store: DrafterStore) -> None:
        """Ask every pool with a drafter's folder once."""
        for state in self._pools:
            if not isinstance(state.client, RenewablePool):
                continue
            try:
                engines = await state.client.drafters(_LIMIT_S)
            except (ReplicaError, TimeoutError):
                continue  # they are being started; whether anybody is there, polls tell
            if drafter := agreed(engines):
                await self._compare(state.profile.name, drafter, store)

    async def _compare(self, profile: str, drafter: str, store: DrafterStore) -> None:
        known = self._settled.get(profile)
        same = known is not None and known.drafter == drafter
        if known is not None and same and abs(self._clock() - known.told_s) < _TOLD_S:
            return
        try:
            before = await store.put(profile, drafter)
        except StoreUnavailableError:
            if known is None:
                return  # nobody says what the evidence is of: the next look asks again
            # The cut waits for the store as any other; there it is made by whoever comes first.
            self._settled[profile] = _Settled(drafter)
            before = known.drafter
        else:
            self._settled[profile] = _Settled(drafter, self._clock())
        was = known.drafter if known is not None else before
        if same or was in {"", drafter}:
            return
        _log.info("pool %s drafts with %s now, not with %s: its evidence is cut", profile, drafter, was)
        await self._watching.redrafted(profile, self._clock(), cut=before != drafter)


def agreed(engines: Iterable[Mapping[str, Any]]) -> str | None:
    """The drafter that all these engines have loaded, by its folder's name.

    None where there are none, they have several, or one of them still ends requests that it has begun.
    """
    found = list(engines)
    names = {PurePath(str(engine["drafter"] or "")).name for engine in found}
    if len(names) != 1 or any(engine["leaving"] for engine in found):
        return None
    return names.pop() or None
