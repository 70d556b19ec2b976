"""Keeps the policy in force the same on all routers, by way of the store.

The store holds a line of versions. A file that changed becomes a version, and so does what an operator puts
over HTTP; whatever reaches the store last is in force everywhere. Two routers that change the policy at once
meet in a compare-and-set on the current version's place: one of them loses, looks again and decides anew.
docs/decisions/0014-policy-versions.md tells why.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from policies.loading import PolicyError
from router.policy_file import Loaded, default_policy, load
from router.policy_proposals import Proposals, next_version
from router.policy_protocol import (
    NoPolicyError,
    PolicyChange,
    PolicyRecordError,
    PolicyStore,
    PolicyVersion,
    RouterReport,
    StalePolicyError,
)
from router.policy_source import PolicySource
from router.stats_protocol import StoreError, StoreUnavailableError

_log = logging.getLogger(__name__)

_ATTEMPTS: Final = 5


@dataclass(frozen=True, slots=True)
class PolicySyncSettings:
    """How often to look.

    Attributes:
        poll_interval_s: Between questions to the store, so the longest that another router's change takes.
        file_interval_s: Between readings of the file.
        abandoned_after_s: A published file that no router has seen for so long gives way to the one they see.
            Longer than Kubernetes takes to update a ConfigMap everywhere.
        leave_timeout_s: Longest wait for the store at the end.
    """

    poll_interval_s: float = 0.5
    file_interval_s: float = 1.0
    abandoned_after_s: float = 180.0
    leave_timeout_s: float = 1.0


class PolicySync:
    """One router's part in it. `alone` says that no other router can use this store.

    `timer` is monotonic seconds and times the file's readings; `clock` is for the times people are shown.
    """

    def __init__(
        self,
        source: PolicySource,
        *,
        settings: PolicySyncSettings | None = None,
        alone: bool = False,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.router_id = f"{socket.gethostname()}-{uuid4().hex[:8]}"
        self._source = source
        self._settings = settings or PolicySyncSettings()
        self._proposals = Proposals(
            source, alone=alone, abandoned_after_s=self._settings.abandoned_after_s, clock=clock, timer=timer
        )
        self._timer = timer
        self._sleep = sleep
        self._talking = asyncio.Lock()
        self._store: PolicyStore | None = None
        self._up = False
        self._current: PolicyVersion | None = None  # as the store had it last
        self._refused: PolicyVersion | None = None
        self._file_read_s = timer()

    @property
    def store_up(self) -> bool:
        """Whether the store answered the last time."""
        return self._up

    @property
    def store(self) -> PolicyStore:
        """The store of the versions. Raises StoreUnavailableError before the start."""
        if self._store is None:
            raise StoreUnavailableError("the store is not connected yet")
        return self._store

    async def start(self, store: PolicyStore) -> None:
        """Ask the store for the first time, and begin with what it has.

        Raises:
            NoPolicyError: Neither the file nor the store has a policy that can be used.
        """
        self._store = store
        await self.round()
        if self._source.file_policy is None and self._source.state.version is None:
            raise NoPolicyError(self._source.state.rejected)

    async def run(self) -> None:
        """Keep up for as long as the task lives."""
        task = asyncio.current_task()
        # A client may take a cancellation for its own time limit and swallow it; `cancelling` still tells.
        while task is None or not task.cancelling():
            await self._sleep(self._settings.poll_interval_s)
            try:
                await self.round()
            except Exception:  # noqa: BLE001 - the next round may work; a loop that ended would never follow
                _log.exception("policy: unexpected failure")

    async def close(self) -> None:
        """Tell the others that this router ends. Call before the store is closed."""
        if self._store is not None:
            with suppress(StoreError, TimeoutError):
                async with asyncio.timeout(self._settings.leave_timeout_s):
                    await self._store.leave(self.router_id)

    async def round(self) -> None:
        """Look at the file when it is time to, and at the store. Never raises because of either."""
        if self._timer() - self._file_read_s >= self._settings.file_interval_s:
            self._file_read_s = self._timer()
            # Reading and parsing take their time elsewhere.
            self._source.note_file(await asyncio.to_thread(self._source.file.newest))
        async with self._talking:
            try:
                await self._converge()
            except StoreError as error:
                self._lost(error)
                await self._act_alone()

    async def publish(
        self, loaded: Loaded, change: PolicyChange, matches: Callable[[str], bool]
    ) -> PolicyVersion:
        """Put a policy in force, here at once, if `matches` holds for the revision that is current.

        Publishing the text that is current already changes nothing.

        Raises:
            StalePolicyError: `matches` does not hold.
            StoreError: The store cannot be asked, so nothing is known to have changed.
        """
        async with self._talking:
            for _ in range(_ATTEMPTS):
                await self._converge()
                current = self._current
                if current is None:
                    raise StoreUnavailableError("the store has no policy yet")
                if current.change.revision == change.revision:
                    return current
                if not matches(current.change.revision):
                    raise StalePolicyError(current)
                version = next_version(current, change, current.files)
                if await self.store.publish(version, current.place):
                    self._current = version
                    self._source.take_over(loaded, version)
                    self._source.reject("store", None)
                    with suppress(StoreError):  # the change is made, whoever hears of it
                        await self.store.announce(self._report())
                    return version
        raise StoreUnavailableError("others change the policy all the time")

    async def _converge(self) -> None:
        """Bring the store and this router to the same version."""
        store = self.store
        before = self._source.state
        heard = await store.announce(self._report())
        current = self._current
        if current is None or current.place != heard.place:
            current = await store.read()
        for _ in range(_ATTEMPTS):
            wanted = self._proposals.due(self._current, current, heard)
            if wanted is None:
                break
            if await store.publish(wanted, current.place if current else None):
                current = wanted
            else:
                current = await store.read()
        self._reached()
        if current is not None:
            self._current = current
            await self._adopt(current)
            if current != self._refused:
                self._source.reject("store", None)
        if self._source.state != before:
            await store.announce(self._report())

    async def _act_alone(self) -> None:
        """Without the store, a file that is news acts here; it is published when the store is back."""
        file = self._source.file_policy
        if file is not None and self._proposals.is_news(self._current):
            self._source.take_over(file)
        elif self._current is not None:
            await self._adopt(self._current)

    async def _adopt(self, version: PolicyVersion) -> None:
        """Put a version in force, unless it is there already or was found to be unusable."""
        if version in {self._refused, self._source.version}:
            return
        text, source = version.change.text, f"version {version.place.number}"
        if version.change.origin == "preset":
            # Every release has its own; while routers are upgraded, each keeps the one it knows.
            text, source = default_policy().encode(), "default.yaml"
        at_hand = (self._source.loaded, self._source.file_policy)
        loaded = next((loaded for loaded in at_hand if loaded and loaded.text == text), None)
        try:
            if loaded is None:
                loaded = await asyncio.to_thread(load, text, source)
            self._source.take_over(loaded, version)
        except PolicyError as error:
            self._refused = version
            self._source.reject("store", str(error))

    def _report(self) -> RouterReport:
        state = self._source.state
        return RouterReport(
            id=self.router_id,
            version=state.version,
            revision=state.revision,
            file_number=self._proposals.file_number,
            rejects=self._source.rejects("store"),
        )

    def _reached(self) -> None:
        if not self._up:
            _log.info("policies are shared through the store")
        self._up = True

    def _lost(self, error: StoreError) -> None:
        if self._up:
            _log.warning("the policy in force stays, and file changes act on this router only: %s", error)
        self._up = False
        if isinstance(error, PolicyRecordError):
            self._source.reject("store", str(error))
