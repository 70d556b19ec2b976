"""Drift on a real store: two routers cut once, and nothing that was counted is lost."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from redis import Redis
from waiting import until_async

from policies.cells import CellDelta, CellKey, CellRecord
from router.drafter_store import ConnectedDrafters, DrafterStore, FakeDrafterStore
from router.stats import StatsBuffer
from router.stats_sync import StatsSync, SyncSettings
from router.store import RedisStore, StoreSettings
from router.store_records import KeyNames
from router.valkey import EmbeddedValkey

pytestmark = pytest.mark.integration

CODE = CellKey("ngram", "code", "low")
CELLS = (CODE, CODE._replace(tenant="acme"), CODE._replace(temperature="high"), CODE.of_replays())
CUTS = 5
HALF_LIFE_S = 1e9
"""So long that nothing decays during a test."""


def delta(requests: int = 1) -> CellDelta:
    return CellDelta(
        HALF_LIFE_S, {"requests": float(requests), "reached:1": 30.0 * requests}, {"requests": requests}
    )


def state(record: CellRecord) -> tuple[float, int, int]:
    """Decaying requests, requests ever, epoch."""
    return round(record.counters["requests"], 3), record.lifetime["requests"], record.epoch


@asynccontextmanager
async def router(
    server: EmbeddedValkey, model: str, settings: StoreSettings, interval_s: float = 0.02
) -> AsyncIterator[tuple[StatsBuffer, StatsSync]]:
    buffer = StatsBuffer()
    intervals = SyncSettings(flush_interval_s=interval_s, refresh_interval_s=interval_s)
    sync = StatsSync(buffer, RedisStore(server.url, model, settings=settings), settings=intervals)
    try:
        yield buffer, sync
    finally:
        await sync.close()


async def reached(sync: StatsSync) -> None:
    await until_async(sync.flush)


async def test_two_routers_that_see_the_same_drift_cut_once(
    valkey: EmbeddedValkey, patient: StoreSettings
) -> None:
    """At the same moment, while both go on counting: one cut per cell, new evidence whole, totals exact."""
    model = uuid4().hex
    async with router(valkey, model, patient) as (a, sync_a), router(valkey, model, patient) as (b, sync_b):
        a.record(dict.fromkeys(CELLS, delta(1000)), time.time())
        assert await sync_a.flush()
        assert await sync_b.refresh()
        for buffer in (a, b):
            for key in CELLS:
                buffer.cut(key, 0.01)
                assert state(buffer[key]) == (10.0, 1000, 1)
            buffer.record(dict.fromkeys(CELLS, delta(3)), time.time())
        assert all(await asyncio.gather(sync_a.flush(), sync_b.flush()))
        for sync in (sync_a, sync_b):
            assert await sync.refresh()
        for key in CELLS:
            assert state(a[key]) == state(b[key]) == (16.0, 1006, 1)
            name = KeyNames(model).cell(key)
            stored = Redis.from_url(valkey.url, decode_responses=True).hgetall(name)
            assert (stored["e"], stored["l:requests"]) == ("1", "1006")  # type: ignore[index]


async def test_cuts_amid_traffic_lose_no_request(valkey: EmbeddedValkey, patient: StoreSettings) -> None:
    """With both loops of two routers running, requests and cuts in any order: every request counts once."""
    model = uuid4().hex
    async with router(valkey, model, patient) as (a, sync_a), router(valkey, model, patient) as (b, sync_b):
        sync_a.start()
        sync_b.start()
        sent = 0

        async def traffic(count: int) -> None:
            nonlocal sent
            for _ in range(count):
                for buffer in (a, b):
                    buffer.record({CODE: delta()}, time.time())
                sent += 2
                await asyncio.sleep(0.002)

        async def amid_traffic(condition: Callable[[], bool]) -> None:
            async def holds() -> bool:
                await traffic(1)
                return condition()

            await until_async(holds, every_s=0.0)

        await traffic(25)
        # A cut made before the store knows of the cell would be made here alone.
        await amid_traffic(lambda: all(buffer[CODE].lifetime["requests"] > sent / 2 for buffer in (a, b)))
        for number in range(CUTS):
            before = sent
            (a, b)[number % 2].cut(CODE, 0.1)
            await amid_traffic(lambda: all(buffer[CODE].epoch == number + 1 for buffer in (a, b)))  # noqa: B023
            after = sent
            await traffic(50)
        await until_async(
            lambda: all(
                x[CODE].lifetime["requests"] == sent and not x.flushes_due(1) and not x.cuts_due()
                for x in (a, b)
            )
        )
        assert a[CODE] == b[CODE]
        assert a[CODE].epoch == CUTS
        # What came after both knew of the last cut is whole, and most of what came before it is gone.
        assert sent - after <= a[CODE].counters["requests"] <= sent - 0.5 * before


async def test_a_cut_made_while_the_store_is_away_is_made_when_it_is_back(
    own_valkey: EmbeddedValkey, patient: StoreSettings
) -> None:
    """Here at once, there once, and what was counted meanwhile weighs in full."""
    quick = StoreSettings(timeout_s=0.2, call_timeout_s=0.4)
    pid = own_valkey.pid
    assert pid is not None
    async with router(own_valkey, "m", quick) as (buffer, sync):
        buffer.record({CODE: delta(1000)}, time.time())
        await reached(sync)
        os.kill(pid, signal.SIGSTOP)
        try:
            buffer.record({CODE: delta(10)}, time.time())
            assert not await sync.flush()
            buffer.cut(CODE, 0.01)
            buffer.record({CODE: delta(5)}, time.time())
            assert state(buffer[CODE]) == (15.1, 1015, 1)
        finally:
            os.kill(pid, signal.SIGCONT)

        async def told() -> bool:
            return await sync.flush() and not buffer.cuts_due() and not buffer.flushes_due(1)

        await until_async(told)
        assert state(buffer[CODE]) == (15.1, 1015, 1)
    async with router(own_valkey, "m", patient) as (other, sync):
        assert await sync.refresh()
        assert state(other[CODE]) == (15.1, 1015, 1)


@pytest.mark.parametrize("kind", ["fake", "valkey"])
async def test_of_routers_that_note_a_new_drafter_one_sees_the_old(
    kind: str, valkey: EmbeddedValkey, patient: StoreSettings
) -> None:
    """A name a profile, which lasts as long as evidence does."""
    connection = RedisStore(valkey.url, model := f"org/{uuid4().hex}", settings=patient)
    drafters: DrafterStore = FakeDrafterStore() if kind == "fake" else ConnectedDrafters(connection, model)
    assert await drafters.put("eagle3", "0001-first") == ""
    assert await drafters.put("medusa", "heads") == ""
    found = await asyncio.gather(*(drafters.put("eagle3", "0002-ü") for _ in range(4)))
    assert sorted(found) == ["0001-first", *["0002-ü"] * 3]
    if kind == "valkey":
        key = f"{KeyNames(model).prefix}drafter:eagle3"
        assert 0 < Redis.from_url(valkey.url).ttl(key) <= StoreSettings().cell_ttl_s
    await connection.close()
