import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from redis import Redis
from waiting import until_async

from policies.cells import CellDelta, CellKey, CellRecord
from router.stats import StatsBuffer
from router.stats_protocol import FlushId, StoreUnavailableError
from router.stats_sync import StatsSync, SyncSettings
from router.store import RedisStore, StoreSettings
from router.valkey import EmbeddedValkey

pytestmark = pytest.mark.integration

CODE = CellKey("ngram", "code", "low")
IMPATIENT = StoreSettings(timeout_s=0.05, call_timeout_s=0.1)


def delta() -> CellDelta:
    return CellDelta(600.0, {"steps:4": 1.0}, {"requests": 1})


@asynccontextmanager
async def router(url: str, settings: StoreSettings) -> AsyncIterator[tuple[StatsBuffer, StatsSync]]:
    buffer = StatsBuffer()
    store = RedisStore(url, "m", settings=settings)
    sync = StatsSync(buffer, store, settings=SyncSettings(flush_interval_s=0.02, refresh_interval_s=0.02))
    try:
        yield buffer, sync
    finally:
        await sync.close()


async def test_two_routers_converge(own_valkey: EmbeddedValkey, patient: StoreSettings) -> None:
    """Both see the traffic of both, from the store alone."""
    async with router(own_valkey.url, patient) as (a, sync_a), router(own_valkey.url, patient) as (b, sync_b):
        sync_a.start()
        sync_b.start()
        for _ in range(50):
            a.record({CODE: delta()}, time.time())
            b.record({CODE: delta()}, time.time())
            await asyncio.sleep(0.005)
        await until_async(
            lambda: all(x[CODE].lifetime["requests"] == 100 and not x.flushes_due(1) for x in (a, b))
        )
        assert a[CODE] == b[CODE]


@pytest.mark.parametrize("kind", ["absent", "black hole"])
async def test_without_an_answering_store_requests_lose_nothing_but_sharing(
    tmp_path: Path, kind: str
) -> None:
    """Recording and reading go on at once, whether nobody listens or somebody never answers."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        if kind == "black hole":
            listener.bind(str(path))
            listener.listen(100)
        async with router(f"unix://{path}", IMPATIENT) as (buffer, sync):
            sync.start()
            for number in range(200):
                buffer.record({CODE: delta()}, time.time())
                assert buffer[CODE].lifetime["requests"] == number + 1
                await asyncio.sleep(0.002)
            assert (buffer.store_up, buffer.age_s(time.time())) == (False, None)


async def test_an_open_breaker_costs_no_time(tmp_path: Path) -> None:
    """After a few failures calls are refused without waiting for the timeout."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(100)
        async with router(f"unix://{tmp_path / 's'}", IMPATIENT) as (buffer, sync):
            buffer.record({CODE: delta()}, time.time())
            for _ in range(3):
                assert not await sync.flush()
            breaker = sync._store._breaker  # type: ignore[attr-defined]
            allow, tried = breaker.allow, []

            def noted() -> bool:
                tried.append(allow())
                return tried[-1]

            breaker.allow = noted
            for _ in range(100):
                assert not await sync.flush()
            # On a machine that stands still a pause may end meanwhile; each is twice as long as the one before.
            assert len(tried) >= 100
            assert sum(tried) < 20


async def test_a_frozen_server_counts_repeated_flushes_once(own_valkey: EmbeddedValkey) -> None:
    """Copies of a flush that a frozen server finds in its sockets on waking are added once."""
    pid = own_valkey.pid
    assert pid is not None
    async with router(own_valkey.url, StoreSettings(timeout_s=0.3, call_timeout_s=0.5)) as (buffer, sync):
        await until_reached(sync)
        os.kill(pid, signal.SIGSTOP)
        try:
            for _ in range(2):
                buffer.record({CODE: delta()}, time.time())
                assert not await sync.flush()
        finally:
            os.kill(pid, signal.SIGCONT)
        await until_reached(sync)
        assert buffer[CODE].lifetime["requests"] == 2
        raw = Redis.from_url(own_valkey.url)
        assert int(raw.hget("specroute:{m}:v1:accept:ngram:code:low", "l:requests")) == 2


async def until_reached(sync: StatsSync) -> None:
    async def reached() -> bool:
        return await sync.flush() and await sync.refresh()

    await until_async(reached)


async def added(store: RedisStore, number: int) -> CellRecord:
    """What the store has of the cell after a flush, which is repeated until it is answered in time."""
    found: list[CellRecord] = []

    async def answered() -> bool:
        with suppress(StoreUnavailableError):
            found.append((await store.add(FlushId("w", number), 1.7e9, {CODE: delta()}))[CODE])
        return bool(found)

    await until_async(answered)
    return found[0]


async def test_totals_are_exact_after_restarts_and_outages(tmp_path: Path, patient: StoreSettings) -> None:
    """A server stopped and started under traffic ends with every request counted once."""
    data_dir, alias = tmp_path / "valkey", tmp_path / "socket"
    sent = 0
    server = EmbeddedValkey(data_dir)
    async with router(f"unix://{alias}/valkey.sock", patient) as (buffer, sync):
        sync.start()
        for _ in range(3):
            server.start()
            alias.symlink_to(Path(server.url.removeprefix("unix://")).parent)
            for _ in range(30):
                buffer.record({CODE: delta()}, time.time())
                sent += 1
                await asyncio.sleep(0.005)
            await until_async(lambda: buffer.store_up)
            server.stop()
            alias.unlink()
            buffer.record({CODE: delta()}, time.time())
            sent += 1
            await until_async(lambda: not buffer.store_up)
        server.start()
        alias.symlink_to(Path(server.url.removeprefix("unix://")).parent)
        await until_async(lambda: buffer.store_up and not buffer.flushes_due(1))
    raw = Redis.from_url(server.url)
    assert int(raw.hget("specroute:{m}:v1:accept:ngram:code:low", "l:requests")) == sent
    server.stop()


async def test_a_flushed_store_is_followed(own_valkey: EmbeddedValkey, patient: StoreSettings) -> None:
    """FLUSHALL starts every router anew, even when another router writes first."""
    async with router(own_valkey.url, patient) as (a, sync_a), router(own_valkey.url, patient) as (b, sync_b):
        for _ in range(3):
            a.record({CODE: delta()}, time.time())
            await sync_a.flush()
        await sync_a.refresh()
        Redis.from_url(own_valkey.url).flushall()
        for task in ("qa", "math", "sql", "rag", "chat"):
            b.record({CODE._replace(task=task): delta()}, time.time())
            await sync_b.flush()
        await sync_a.refresh()
        assert CODE not in a
        assert dict(a) == {key: b[key] for key in b}


async def test_a_call_that_was_given_up_leaves_no_answer_for_the_next(own_valkey: EmbeddedValkey) -> None:
    """A late reply is never taken for the reply of another call."""
    pid = own_valkey.pid
    assert pid is not None
    store = RedisStore(own_valkey.url, "m", settings=StoreSettings(timeout_s=20.0, call_timeout_s=0.5))
    await added(store, 1)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailableError, match="no answer within"):
            await store.ping()
        cancelled = asyncio.create_task(store.ping())
        await asyncio.sleep(0.05)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
    finally:
        os.kill(pid, signal.SIGCONT)
    await asyncio.sleep(0.1)
    assert (await added(store, 2)).lifetime["requests"] == 2
    await store.close()
