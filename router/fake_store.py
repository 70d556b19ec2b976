"""A StatsStore in memory, with the faults of a real one: for tests and for runs without Redis."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from uuid import uuid4

from policies.cells import CellDelta, CellKey, CellRecord
from policies.merge import added
from router.stats_protocol import (
    Changes,
    Cursor,
    FlushId,
    Forgotten,
    RecordVersionError,
    StoreUnavailableError,
)
from router.store_records import delta_text


class FakeStore:
    """Behaves as RedisStore does, without Redis.

    Attributes:
        down: Every call fails.
        lose_replies: How many of the next additions are applied but answered with a failure.
        unreadable: Cells whose stored record has an unknown layout.
    """

    def __init__(
        self,
        *,
        page_cells: int = 128,
        clock: Callable[[], float] = lambda: math.inf,
        clock_allowance_s: float = 5.0,
    ) -> None:
        self.down = False
        self.lose_replies = 0
        self.unreadable: set[CellKey] = set()
        self._page_cells = page_cells
        self._clock = clock
        self._clock_allowance_s = clock_allowance_s
        self.wipe()

    def wipe(self) -> None:
        """Lose everything, as FLUSHALL does."""
        self._cells: dict[CellKey, CellRecord] = {}
        self._sequences: dict[CellKey, int] = {}
        self._flushed: dict[str, int] = {}
        self._incarnation = uuid4().hex
        self._last = 0

    async def add(
        self, flush: FlushId, now_s: float, deltas: Mapping[CellKey, CellDelta]
    ) -> Mapping[CellKey, CellRecord]:
        """See StatsStore.add."""
        self._answer()
        for delta in deltas.values():
            delta_text(delta)  # refuses what could not be written
        self._refuse_unreadable(deltas)
        if flush.number > self._flushed.get(flush.writer, 0):
            self._flushed[flush.writer] = flush.number
            latest_s = self._clock() + self._clock_allowance_s
            for key, delta in deltas.items():
                record = self._cells.get(key)
                if record is not None and record.updated_at_s > latest_s:
                    record = replace(record, updated_at_s=latest_s)
                self._write(key, added(record, delta, min(now_s, latest_s)))
        if self.lose_replies:
            self.lose_replies -= 1
            raise StoreUnavailableError("the fake store lost its reply")
        return {key: self._cells[key] for key in deltas if key in self._cells}

    async def changed_since(self, cursor: Cursor | None) -> Changes:
        """See StatsStore.changed_since."""
        self._answer()
        if not self._last:
            return Changes(records={}, cursor=None, from_start=True, more=False)
        from_start = cursor is None or cursor.incarnation != self._incarnation or cursor.sequence > self._last
        place = 0 if cursor is None or from_start else cursor.sequence
        # Writing moves a cell to the end, so the order of the dict is the order of changes.
        page = [(key, number) for key, number in self._sequences.items() if number > place]
        page = page[: self._page_cells]
        return Changes(
            records={key: self._cells[key] for key, _ in page if key not in self.unreadable},
            cursor=Cursor(self._incarnation, page[-1][1] if page else place),
            from_start=from_start,
            more=len(page) == self._page_cells,
        )

    async def forget(self, key: CellKey, expected_epoch: int, factor: float) -> Forgotten:
        """See StatsStore.forget."""
        self._answer()
        self._refuse_unreadable([key])
        record = self._cells.get(key)
        if record is None or record.epoch != expected_epoch:
            return Forgotten(applied=False, record=record)
        counters = {name: value * factor for name, value in record.counters.items()}
        self._write(key, replace(record, counters=counters, epoch=record.epoch + 1))
        return Forgotten(applied=True, record=self._cells[key])

    async def ping(self) -> None:
        """See StatsStore.ping."""
        self._answer()

    async def close(self) -> None:
        """See StatsStore.close."""

    def _answer(self) -> None:
        if self.down:
            raise StoreUnavailableError("the fake store is down")

    def _refuse_unreadable(self, keys: Mapping[CellKey, CellDelta] | list[CellKey]) -> None:
        refused = self.unreadable.intersection(keys)
        if refused:
            raise RecordVersionError(f"unknown record version in {sorted(refused)}", frozenset(refused))

    def _write(self, key: CellKey, record: CellRecord) -> None:
        self._cells[key] = record
        self._last += 1
        self._sequences.pop(key, None)
        self._sequences[key] = self._last
