"""What statistics cost: a flush to the store, per request in it, and memory per 10,000 (tenant, task) cells.

A real Valkey on a unix socket, as `specroute serve` starts one, and the router's own buffer, synchroniser and
store. A request is recorded in its task's cell and its tenant's. A flush carries what was recorded in a
second, so requests per flush are requests per second. Times of the router are its thread's own, those of the
server what the system charged it.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Final

import psutil

from bench.overhead.processors import processor_seconds
from bench.repeated import Measurement
from policies.cells import Origin
from policies.evidence import RequestSteps
from policies.learner import Drafter, Learner
from policies.loading import parse_policy
from policies.resolve import PolicyTable
from policies.tasks import TASKS
from router.breaker import BreakerSettings
from router.stats import StatsBuffer
from router.stats_sync import StatsSync, SyncSettings
from router.store import RedisStore, StoreSettings
from router.valkey import EmbeddedValkey

_PROFILE: Final = "ngram"
_K: Final = 8
_PATIENT: Final = StoreSettings(timeout_s=30, call_timeout_s=60, breaker=BreakerSettings())
_POLICY: Final = """
apiVersion: specroute/v1
kind: RoutingPolicy
metadata: {name: bench}
spec: {mode: adaptive}
"""
_HALF_LIFE_S: Final = 600.0
_FLUSHES: Final = 8
_TENANTS: Final = 200
_TASKS: Final = tuple(task for task in TASKS if task != "other")


@contextmanager
def valkey() -> Iterator[EmbeddedValkey]:
    """A server with an empty folder of its own."""
    with tempfile.TemporaryDirectory(prefix="bs-") as folder:
        server = EmbeddedValkey(Path(folder) / "valkey")
        server.start()
        try:
            yield server
        finally:
            server.stop()


def flushes(server: EmbeddedValkey, requests: int) -> Callable[[], Measurement]:
    """A measurement of flushes with that many requests each."""
    return lambda: asyncio.run(_flushes(server, requests))


def memory(cells: int) -> Measurement:
    """What that many (tenant, task) cells take in the store and in a router, and how long a new router reads.

    `store_bytes` and `router_bytes` are for 10,000 cells, `beliefs_bytes` for the estimates that decisions
    read, once every tenant and task was asked about. Python's memory is what its allocator gave out.
    """
    with valkey() as server:
        return asyncio.run(_memory(server, cells))


async def _flushes(server: EmbeddedValkey, requests: int) -> Measurement:
    rng = Random(requests)
    buffer, sync, store = _router(server)
    learner = Learner(buffer, {_PROFILE: Drafter("ngram", _K)})
    wall, own, theirs = 0.0, 0.0, 0.0
    for number in range(-1, _FLUSHES):  # the first one loads the script
        for _ in range(requests):
            _record(learner, rng, f"tenant-{rng.randrange(_TENANTS)}", rng.choice(_TASKS))
        served, thread, began = _seconds_of(server), time.thread_time(), time.perf_counter()
        if not await sync.flush():
            raise RuntimeError("the store did not answer: is the machine very busy?")
        if number >= 0:
            wall += time.perf_counter() - began
            own += time.thread_time() - thread
            theirs += _seconds_of(server) - served
    await store.close()
    scale = 1e6 / (_FLUSHES * requests)
    return {
        "router_us_per_request": scale * own,
        "store_us_per_request": scale * theirs,
        "wall_us_per_request": scale * wall,
        "flush_ms": 1e3 * wall / _FLUSHES,
    }


async def _memory(server: EmbeddedValkey, cells: int) -> Measurement:
    rng = Random(1)
    tenants = [f"tenant-{number}" for number in range(-(-cells // len(_TASKS)))]
    places = [(tenant, task) for tenant in tenants for task in _TASKS][:cells]
    buffer, sync, store = _router(server)
    writer = Learner(buffer, {_PROFILE: Drafter("ngram", _K)})
    before = await _used_bytes(store)
    for tenant, task in places:
        _record(writer, rng, tenant, task)
    if not await sync.flush():
        raise RuntimeError("the store did not answer: is the machine very busy?")
    stored = await _used_bytes(store) - before
    await store.close()
    read_s = await _read_s(server)
    gc.collect()
    tracemalloc.start()
    try:
        fresh, reader, second = _router(server)
        await reader.refresh()
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
        learner = _believing(fresh, places)
        gc.collect()
        believed = tracemalloc.get_traced_memory()[0] - held
        del learner
    finally:
        tracemalloc.stop()
    await second.close()
    scale = 10_000 / len(places)
    return {
        "store_bytes": scale * stored,
        "router_bytes": scale * held,
        "beliefs_bytes": scale * believed,
        "read_s": scale * read_s,
    }


async def _read_s(server: EmbeddedValkey) -> float:
    """Seconds a new router takes to read all there is."""
    _, reader, store = _router(server)
    began = time.perf_counter()
    await reader.refresh()
    taken = time.perf_counter() - began
    await store.close()
    return taken


def _router(server: EmbeddedValkey) -> tuple[StatsBuffer, StatsSync, RedisStore]:
    buffer = StatsBuffer(max_tenants=1_000_000)
    store = RedisStore(server.url, "bench", settings=_PATIENT)
    return buffer, StatsSync(buffer, store, settings=SyncSettings()), store


def _record(learner: Learner, rng: Random, tenant: str, task: str) -> None:
    accepted = [min(_K, int(rng.expovariate(0.6))) for _ in range(40)]
    origin = Origin(task, "mid", tenant, half_life_s=_HALF_LIFE_S)
    learner.record(_PROFILE, origin, RequestSteps(_K, [_K] * 40, accepted), time.time())


def _believing(buffer: StatsBuffer, places: Sequence[tuple[str, str]]) -> Learner:
    """A learner that has made the estimates that decisions for all these ask for."""
    learner = Learner(buffer, {_PROFILE: Drafter("ngram", _K)})
    table = PolicyTable(parse_policy(_POLICY, "bench"))
    now_s = time.time()
    for tenant, task in places:
        learner.estimate(
            profile=_PROFILE,
            task=task,
            temperature="mid",
            tenant=tenant,
            policy=table.resolve(tenant=tenant, task=task, now_s=now_s),
            now_s=now_s,
        )
    return learner


def _seconds_of(server: EmbeddedValkey) -> float:
    pid = server.pid
    return processor_seconds({"store": pid})["store"] if pid is not None and psutil.pid_exists(pid) else 0.0


async def _used_bytes(store: RedisStore) -> int:
    told = await store.command("INFO", "memory")
    return int(told["used_memory"])
