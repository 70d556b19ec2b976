import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.cells import CellDelta, CellKey, CellRecord
from router.fake_store import FakeStore
from router.stats import StatsBuffer
from router.stats_protocol import Changes, Cursor, FlushId, Forgotten, StoreUnavailableError
from router.stats_sync import StatsSync, SyncSettings

pytestmark = pytest.mark.unit

T0 = 1_700_000_000.0
CODE = CellKey("ngram", "code", "low")
QA = CellKey("ngram", "qa", "low")


def delta(requests: int = 1) -> CellDelta:
    return CellDelta(600.0, {"steps:4": float(requests)}, {"requests": requests})


def router(store: FakeStore, **settings: float) -> tuple[StatsBuffer, StatsSync]:
    buffer = StatsBuffer()
    return buffer, StatsSync(buffer, store, settings=SyncSettings(**settings), clock=lambda: T0)


async def test_two_routers_converge() -> None:
    """After both flushed and refreshed, both see the same cells with the traffic of both."""
    store = FakeStore()
    (a, sync_a), (b, sync_b) = router(store), router(store)
    for second in range(5):
        a.record({CODE: delta()}, T0 + second)
        b.record({CODE: delta(), QA: delta()}, T0 + second)
        assert await sync_b.flush()
        assert await sync_a.flush()
    assert await sync_a.refresh()
    assert await sync_b.refresh()
    assert dict(a) == dict(b)
    assert a[CODE].lifetime["requests"] == 10


async def test_a_lost_reply_counts_once_before_and_after_the_retry() -> None:
    """A flush the store applied without us knowing is never seen twice, not even by a refresh in between."""
    store = FakeStore()
    buffer, sync = router(store)
    buffer.record({CODE: delta()}, T0)
    store.lose_replies = 1
    assert not await sync.flush()
    assert buffer[CODE].lifetime["requests"] == 1
    assert await sync.refresh()
    assert buffer[CODE].lifetime["requests"] == 1
    assert await sync.flush()
    assert (await store.changed_since(None)).records[CODE].lifetime["requests"] == 1


async def test_totals_are_exact_after_an_outage() -> None:
    """What was recorded while the store was away arrives completely when it is back."""
    store = FakeStore()
    buffer, sync = router(store)
    for second in range(100):
        store.down = 20 <= second < 80
        store.lose_replies = 1 if second in {10, 85} else 0
        buffer.record({CODE: delta(second)}, T0 + second)
        await sync.flush()
        await sync.refresh()
    assert await sync.flush()
    assert (await store.changed_since(None)).records[CODE].lifetime["requests"] == sum(range(100))
    assert buffer[CODE].lifetime["requests"] == sum(range(100))
    assert buffer.store_up


async def test_a_wiped_store_is_followed_and_what_was_pending_survives() -> None:
    """After FLUSHALL the shared past is gone everywhere, the untold deltas are not."""
    store = FakeStore()
    buffer, sync = router(store)
    buffer.record({CODE: delta(5), QA: delta(5)}, T0)
    assert await sync.flush()
    assert await sync.refresh()
    buffer.record({CODE: delta(1)}, T0)
    store.wipe()
    assert await sync.refresh()
    assert {key: record.lifetime["requests"] for key, record in buffer.items()} == {CODE: 1}
    assert await sync.flush()
    assert await sync.refresh()
    assert buffer[CODE].lifetime["requests"] == 1


async def test_a_load_over_many_pages_survives_an_interruption() -> None:
    """Pages read before a short failure are not read again, and the whole is complete."""
    store = FakeStore(page_cells=2)
    keys = [CellKey("ngram", f"task{number}", "low") for number in range(9)]
    await store.add(FlushId("w", 1), T0, dict.fromkeys(keys, delta()))
    buffer, sync = router(store)
    pages = 0
    read = store.changed_since

    async def interrupted(cursor: object) -> object:
        nonlocal pages
        pages += 1
        store.down = pages == 3
        return await read(cursor)  # type: ignore[arg-type]

    store.changed_since = interrupted  # type: ignore[method-assign,assignment]
    assert not await sync.refresh()
    assert len(buffer) == 0
    assert await sync.refresh()
    assert set(buffer) == set(keys)
    assert pages == 6


async def test_an_unreadable_record_stops_only_its_own_cell(caplog: pytest.LogCaptureFixture) -> None:
    """The refusal is logged, the other cells of the batch reach the store."""
    store = FakeStore()
    store.unreadable = {CODE}
    buffer, sync = router(store)
    buffer.record({CODE: delta(), QA: delta()}, T0)
    assert await sync.flush()
    assert await sync.flush()
    assert set((await store.changed_since(None)).records) == {QA}
    assert "unknown record version" in caplog.text


async def test_a_delta_that_cannot_be_stored_does_not_stop_the_flusher(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A NaN is dropped with an error in the log; later traffic is flushed."""
    store = FakeStore()
    buffer, sync = router(store)
    buffer.record({CODE: CellDelta(600.0, {"steps:4": float("nan")}, {})}, T0)
    assert await sync.flush()
    buffer.record({QA: delta()}, T0)
    assert await sync.flush()
    assert "must be finite" in caplog.text
    assert set(buffer) == {QA}


class HangingStore(FakeStore):
    """Accepts additions and never answers them."""

    async def add(
        self, flush: FlushId, now_s: float, deltas: Mapping[CellKey, CellDelta]
    ) -> Mapping[CellKey, CellRecord]:
        await super().add(flush, now_s, deltas)
        await asyncio.Event().wait()
        raise AssertionError


async def test_closing_is_bounded_in_time_when_the_store_hangs() -> None:
    """Shutdown does not wait for a store that never answers."""
    store = HangingStore()
    buffer, sync = router(store, close_timeout_s=0.01)
    sync.start()
    buffer.record({CODE: delta()}, T0)
    await asyncio.wait_for(sync.close(), 120)
    assert buffer[CODE].lifetime["requests"] == 1


async def test_the_loops_flush_and_refresh_and_closing_flushes_the_rest() -> None:
    """Deltas reach the store by the loops, the last ones by closing; a bug in a round ends no loop."""
    store = FakeStore()
    buffer = StatsBuffer()
    rounds: asyncio.Queue[float] = asyncio.Queue()
    go_on = asyncio.Semaphore(0)

    async def sleep(interval_s: float) -> None:
        rounds.put_nowait(interval_s)
        await go_on.acquire()

    sync = StatsSync(buffer, store, clock=lambda: T0, sleep=sleep)
    buffer.record({CODE: delta()}, T0)
    sync.start()
    await rounds.get()
    await rounds.get()
    assert (await store.changed_since(None)).records[CODE].lifetime["requests"] == 1
    assert buffer.store_up
    healthy, store.changed_since = store.changed_since, None  # type: ignore[method-assign,assignment]
    go_on.release()
    go_on.release()
    await rounds.get()
    await rounds.get()
    store.changed_since = healthy  # type: ignore[method-assign]
    buffer.record({CODE: delta()}, T0)
    await sync.close()
    assert (await store.changed_since(None)).records[CODE].lifetime["requests"] == 2


def state(record: CellRecord) -> tuple[float, int, int]:
    return record.counters["steps:4"], record.lifetime["requests"], record.epoch


async def stored(store: FakeStore) -> tuple[float, int, int]:
    return state((await store.changed_since(None)).records[CODE])


async def test_a_cut_reaches_the_store_between_what_was_counted_before_and_after() -> None:
    """Old evidence is cut, new evidence is whole, here and there."""
    store = FakeStore()
    buffer, sync = router(store)
    buffer.record({CODE: delta(100)}, T0)
    assert await sync.flush()
    buffer.cut(CODE, 0.1)
    buffer.record({CODE: delta(3)}, T0)
    assert state(buffer[CODE]) == (pytest.approx(13.0), 103, 1)
    assert await sync.flush()
    assert state(buffer[CODE]) == (pytest.approx(13.0), 103, 1)
    assert await stored(store) == (pytest.approx(13.0), 103, 1)


async def test_two_routers_that_saw_the_same_cut_once() -> None:
    """The second finds the epoch raised, and takes over the record."""
    store = FakeStore()
    (a, sync_a), (b, sync_b) = router(store), router(store)
    a.record({CODE: delta(100)}, T0)
    assert await sync_a.flush()
    assert await sync_b.refresh()
    for buffer in (a, b):
        buffer.cut(CODE, 0.1)
    assert await sync_a.flush()
    assert await sync_b.flush()
    assert not b.cuts_due()
    assert dict(a) == dict(b)
    assert await stored(store) == (pytest.approx(10.0), 100, 1)


async def test_a_cut_waits_for_the_store_and_is_made_once() -> None:
    """With the store away it holds here; when it is back, exactly once, though a reply was lost."""
    store = FakeStore()
    buffer, sync = router(store)
    buffer.record({CODE: delta(100)}, T0)
    assert await sync.flush()
    buffer.record({CODE: delta(20)}, T0)
    store.lose_replies = 1
    assert not await sync.flush()
    store.down = True
    buffer.cut(CODE, 0.1)
    buffer.record({CODE: delta(5)}, T0)
    for _ in range(5):
        assert not await sync.flush()
        assert not await sync.refresh()
    assert state(buffer[CODE]) == (pytest.approx(17.0), 125, 1)
    store.down = False
    forget, lost = store.forget, []

    async def lossy(key: CellKey, expected_epoch: int, factor: float) -> Forgotten:
        answer = await forget(key, expected_epoch, factor)
        lost.append(answer.applied)
        if len(lost) == 1:
            raise StoreUnavailableError("the reply is lost")
        return answer

    store.forget = lossy  # type: ignore[method-assign]
    assert not await sync.flush()
    assert state(buffer[CODE]) == (pytest.approx(17.0), 125, 1)
    assert await sync.flush()
    assert lost[0] is True
    assert not any(lost[1:])
    assert state(buffer[CODE]) == (pytest.approx(17.0), 125, 1)
    assert await stored(store) == (pytest.approx(17.0), 125, 1)


async def test_old_evidence_held_through_an_outage_does_not_undo_a_cut() -> None:
    """A router that was cut off first reads that another one cut, then sends what it held."""
    store = FakeStore()
    (a, sync_a), (b, sync_b) = router(store), router(store)
    a.record({CODE: delta(100)}, T0)
    assert await sync_a.flush()
    assert await sync_b.refresh()
    store.down = True
    assert not await sync_b.refresh()
    b.record({CODE: CellDelta(600.0, {"steps:4": 500.0, "requests": 500.0}, {"requests": 500})}, T0)
    assert not await sync_b.flush()
    store.down = False
    a.cut(CODE, 0.1)
    assert await sync_a.flush()
    assert await sync_b.flush()
    assert await stored(store) == (pytest.approx(12.0), 600, 1)


async def test_a_cut_of_an_unreadable_record_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    """It holds up nothing else."""
    store = FakeStore()
    buffer, sync = router(store)
    buffer.record({CODE: delta(), QA: delta()}, T0)
    assert await sync.flush()
    buffer.cut(CODE, 0.1)
    buffer.record({QA: delta()}, T0)
    store.unreadable = {CODE}
    assert await sync.flush()
    assert "not cut" in caplog.text
    assert not buffer.cuts_due()
    assert buffer[QA].lifetime["requests"] == 2


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from(["record", "cut", "flush", "refresh", "down", "lose"])),
        max_size=60,
    )
)
async def test_lifetime_totals_are_exact_whatever_is_cut(steps: list[tuple[int, str]]) -> None:
    """In any order of requests, cuts and faults every request counts once, and all agree in the end."""
    store = FakeStore()
    routers = [router(store), router(store)]
    recorded = 0
    for number, action in steps:
        buffer, sync = routers[number]
        if action == "record":
            buffer.record({CODE: delta()}, T0)
            recorded += 1
        elif action == "cut":
            buffer.cut(CODE, 0.1)
        elif action == "flush":
            await sync.flush()
        elif action == "refresh":
            await sync.refresh()
        elif action == "down":
            store.down = not store.down
        else:
            store.lose_replies = 1
    store.down, store.lose_replies = False, 0
    for _ in range(3):
        for _, sync in routers:
            await sync.flush()
            await sync.refresh()
    for buffer, _ in routers:
        record = buffer.get(CODE)
        assert (0 if record is None else record.lifetime["requests"]) == recorded
        assert not buffer.cuts_due()
        assert record is None or 0.0 <= record.counters["steps:4"] <= recorded
    assert dict(routers[0][0]) == dict(routers[1][0])


class _SwallowingStore(FakeStore):
    """A client that takes a cancellation for a time limit of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.called = asyncio.Event()

    async def changed_since(self, cursor: Cursor | None) -> Changes:
        self.called.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise StoreUnavailableError("took too long") from None
        return await super().changed_since(cursor)


async def test_a_swallowed_cancellation_does_not_keep_the_loops_alive() -> None:
    """Closing returns although the store's client lost the order to stop."""
    store = _SwallowingStore()
    _, sync = router(store)
    sync.start()
    await store.called.wait()
    async with asyncio.timeout(120):
        await sync.close()
