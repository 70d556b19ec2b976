"""A store that tells what it has and takes nothing: out of memory, or a replica."""

from collections.abc import Mapping

import pytest

from policies.cells import CellDelta, CellKey, CellRecord
from router.fake_store import FakeStore
from router.stats import StatsBuffer
from router.stats_protocol import Changes, Cursor, FlushId, Forgotten, StoreUnavailableError
from router.stats_sync import StatsSync

pytestmark = pytest.mark.unit

T0 = 1_700_000_000.0
CODE = CellKey("ngram", "code", "low")


def delta() -> CellDelta:
    return CellDelta(600.0, {"steps:4": 1.0}, {"requests": 1})


class _FullStore(FakeStore):
    """Out of memory: it tells what it has, and takes nothing."""

    full = False
    loads = 0

    async def add(
        self, flush: FlushId, now_s: float, deltas: Mapping[CellKey, CellDelta]
    ) -> Mapping[CellKey, CellRecord]:
        if self.full:
            raise StoreUnavailableError("OOM")
        return await super().add(flush, now_s, deltas)

    async def forget(self, key: CellKey, expected_epoch: int, factor: float) -> Forgotten:
        if self.full:
            raise StoreUnavailableError("OOM")
        return await super().forget(key, expected_epoch, factor)

    async def changed_since(self, cursor: Cursor | None) -> Changes:
        self.loads += cursor is None
        return await super().changed_since(cursor)


async def test_a_store_that_only_lets_read_is_one_outage(caplog: pytest.LogCaptureFixture) -> None:
    """It is not up because it can be read; it is told once, and not read from the start every time."""
    store = _FullStore()
    buffer = StatsBuffer()
    sync = StatsSync(buffer, store, clock=lambda: T0)
    buffer.record({CODE: delta()}, T0)
    assert await sync.flush()
    assert await sync.refresh()
    loads, store.full = store.loads, True
    buffer.cut(CODE, 0.5)
    for _ in range(5):
        buffer.record({CODE: delta()}, T0)
        assert not await sync.flush()
        assert await sync.refresh()
        assert (buffer.store_up, buffer.age_s(T0)) == (False, 0.0)
    assert caplog.text.count("going on with the statistics at hand") == 1
    assert store.loads == loads
    store.full = False
    assert await sync.flush()
    assert buffer.store_up
    record = (await store.changed_since(None)).records[CODE]
    assert (record.lifetime["requests"], record.epoch) == (6, 1)
