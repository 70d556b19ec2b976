"""Keeps a router's statistics and the shared store in step, in the background."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from policies.cells import CellKey, CellRecord
from router.background import ended
from router.snapshot import Flush
from router.stats import StatsBuffer
from router.stats_protocol import Cursor, RecordVersionError, StatsStore, StoreError, StoreUnavailableError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """How often to talk to the store.

    Attributes:
        flush_interval_s: Between flushes.
        refresh_interval_s: Between readings of what other routers wrote.
        batch_cells: Most cells of one flush; 64 take the server about 6 ms of a store's 50 ms.
        reload_after_failures: So many failures in a row are an outage, after which all is read anew.
        close_timeout_s: Longest wait for the last flush.
    """

    flush_interval_s: float = 1.0
    refresh_interval_s: float = 1.0
    batch_cells: int = 64
    reload_after_failures: int = 3
    close_timeout_s: float = 1.0


class StatsSync:
    """Two loops, flush and refresh, that never talk to the store at the same time.

    One at a time, because a record read while a flush is unanswered may or may not contain that flush: the
    buffer could count it twice. For the same reason a refresh first repeats a flush that got no answer.
    `clock` gives unix seconds; `sleep` is called between rounds only.
    """

    def __init__(
        self,
        buffer: StatsBuffer,
        store: StatsStore,
        *,
        settings: SyncSettings | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._buffer = buffer
        self._store = store
        self._settings = settings or SyncSettings()
        self._clock = clock
        self._sleep = sleep
        self._talking = asyncio.Lock()
        self._failures = 0
        self._refuses = False  # it takes no writes, whatever it lets read
        self._cursor: Cursor | None = None
        self._loading: dict[CellKey, CellRecord] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start both loops in the running event loop; the first refresh loads everything."""
        if self._tasks:
            return
        for name, step, interval_s in (
            ("stats-refresh", self.refresh, self._settings.refresh_interval_s),
            ("stats-flush", self.flush, self._settings.flush_interval_s),
        ):
            self._tasks.append(asyncio.create_task(self._repeat(step, interval_s), name=name))

    async def close(self) -> None:
        """Stop the loops, flush once more within the time limit, and close the store."""
        tasks, self._tasks = self._tasks, []
        await ended(tasks)
        try:
            async with asyncio.timeout(self._settings.close_timeout_s):
                if not await self.flush():
                    _log.warning("the store is not reachable: the last statistics are lost")
        except TimeoutError:
            _log.warning("the store is too slow: the last statistics may be lost")
        with suppress(StoreError, OSError):
            async with asyncio.timeout(self._settings.close_timeout_s):
                await self._store.close()

    async def flush(self) -> bool:
        """Send everything recorded up to now; False when the store could not be reached."""
        async with self._talking:
            # After an outage, what others cut meanwhile must be known before what is held here is sent.
            if self._failures and not (await self._send_unanswered() and await self._refresh()):
                return False
            return await self._flush()

    async def refresh(self) -> bool:
        """Read what changed in the store; False when it could not be reached."""
        async with self._talking:
            # With a flush unanswered, what is read may contain it already.
            return await self._send_unanswered() and await self._refresh()

    async def _flush(self) -> bool:
        """A flush without an answer, then cuts, then what is new: in the order in which they were made."""
        if not (await self._send_unanswered() and await self._cut()):
            return False
        # As many as are due now: under load there is always something new.
        for _ in range(self._buffer.flushes_due(self._settings.batch_cells)):
            flush = self._buffer.next_flush(self._settings.batch_cells)
            if flush is None:
                break
            if not await self._send(flush):
                return False
        self._refuses = False
        return True

    async def _send_unanswered(self) -> bool:
        while self._buffer.flush_unanswered:  # the rest of a refused flush is another one
            flush = self._buffer.next_flush(self._settings.batch_cells)
            if flush is None or not await self._send(flush):
                return False
        return True

    async def _send(self, flush: Flush) -> bool:
        try:
            records = await self._store.add(flush.id, flush.until_s, flush.deltas)
        except StoreUnavailableError as error:
            self._refuses = True
            self._lost(error)
            return False
        except RecordVersionError as error:
            _log.error("statistics of %d cells dropped: %s", len(error.keys), error)
            self._buffer.refuse_flush(error.keys)
        except ValueError:
            _log.exception("statistics of %d cells dropped: they cannot be stored", len(flush.deltas))
            self._buffer.refuse_flush()
        else:
            self._buffer.finish_flush(records)
            self._refuses = False
            self._reached()
        return True

    async def _cut(self) -> bool:
        for key, cut in self._buffer.cuts_due().items():
            try:
                answer = await self._store.forget(key, cut.expected_epoch, cut.factor)
            except StoreUnavailableError as error:
                self._refuses = True
                self._lost(error)
                return False
            except RecordVersionError as error:
                _log.error("old evidence is not cut: %s", error)
                self._buffer.finish_cut(key, None)
            else:
                # Not applied because of a higher epoch: another router cut it, or we did and lost the reply.
                self._buffer.finish_cut(key, answer.record)
                self._refuses = False
                self._reached()
        return True

    async def _refresh(self) -> bool:
        more = True
        while more:
            try:
                changes = await self._store.changed_since(self._cursor)
            except StoreUnavailableError as error:
                self._lost(error)
                return False
            if changes.from_start:
                self._loading = {}
            if self._loading is None:
                self._buffer.learn(changes.records)
            else:
                self._loading.update(changes.records)
            self._cursor, more = changes.cursor, changes.more
        # A load interrupted between pages goes on where it stopped, and ends only with the newest change:
        # whatever was written meanwhile is in it.
        if self._loading is not None:
            self._buffer.relearn(self._loading)
            self._loading = None
        self._reached()
        return True

    def _reached(self) -> None:
        if self._refuses:
            # Full, or a replica: still an outage, but nothing that is read is missed.
            self._failures = 1
            self._buffer.note_read(self._clock())
            return
        if self._failures and not self._buffer.store_up:
            _log.info("the store answers again")
        self._failures = 0
        self._buffer.note_contact(self._clock())

    def _lost(self, error: StoreUnavailableError) -> None:
        if not self._failures:
            _log.warning("going on with the statistics at hand: %s", error)
        self._failures += 1
        self._buffer.note_lost()
        if self._failures >= self._settings.reload_after_failures:
            # The store may have been restarted from an older state whose numbers have since caught up.
            self._cursor = None
            self._loading = None

    async def _repeat(self, step: Callable[[], Awaitable[bool]], interval_s: float) -> None:
        while True:
            try:
                await step()
            except Exception:  # noqa: BLE001 - see below
                # A loop that ended would silently stop learning; the next round may work.
                _log.exception("statistics: unexpected failure")
            await self._sleep(interval_s)
