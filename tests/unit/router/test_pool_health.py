"""Pools and replicas that fail: who is left alone, who is asked whether it works again, and who is not to blame."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fakes import NGRAM, VANILLA, Clock, FakePool, gone, opening, settled, whole

from replicas.frames import Call, ReplicaError
from router.pools import Pools, PoolState

pytestmark = pytest.mark.unit

CALL = Call("id", "/v1/chat/completions", b"{}", 0)
SEVERAL = NGRAM.model_copy(update={"replicas": 3})


class Replicas(FakePool):
    """A pool whose statuses come from named replicas."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = list(names)
        self.broken: set[str] = set()
        self.asked: list[tuple[str, frozenset[str]]] = []

    async def status(self, home: str = "", avoid: frozenset[str] = frozenset()) -> dict[str, Any]:
        self.asked.append((home, avoid))
        admissible = [name for name in self.names if name not in avoid]
        name = home if home in self.names else admissible[0]
        if name in self.broken:
            raise ReplicaError("the engine core has ended", replica=name)
        return {"running": 0, "replica": name}


def pooled(*clients: FakePool, clock: Clock | None = None) -> tuple[Pools, Clock, dict[str, PoolState]]:
    clock = clock or Clock(0.0)
    profiles = (SEVERAL, VANILLA) if isinstance(clients[0], Replicas) else (NGRAM, VANILLA)
    pools = Pools(list(zip(profiles, clients, strict=True)), clock=clock)
    return pools, clock, {state.profile.name: state for state in pools}


def available(pools: Pools) -> list[bool]:
    return [pool.available for pool in pools.snapshot()]


async def fail(pools: Pools, client: FakePool, error: ReplicaError, profile: str = "ngram") -> None:
    client.scripts = [[error]]
    with pytest.raises(ReplicaError):
        await anext(pools.serve(profile, CALL))
    client.scripts = [[whole()]]


async def test_a_pool_that_failed_waits_though_it_answers_polls() -> None:
    """Then it gets one request at a time, until one of them begins."""
    client, other = FakePool(), FakePool()
    pools, clock, _ = pooled(client, other)
    await pools.poll()
    await fail(pools, client, gone())
    await pools.poll()
    assert available(pools) == [False, True]
    assert pools.ejected("ngram") == ["ngram"]
    clock.now_s = 2.0
    assert available(pools) == [True, True]
    never = asyncio.Event()
    client.scripts = [[never]]
    probe = asyncio.ensure_future(anext(pools.serve("ngram", CALL)))
    await client.waiting.wait()
    assert available(pools) == [False, True]
    never.set()
    await asyncio.gather(probe, return_exceptions=True)  # it ends without a frame, which shows nothing
    assert available(pools) == [True, True]
    client.scripts = [[whole()]]
    frames = pools.serve("ngram", CALL)
    await anext(frames)
    assert available(pools) == [True, True]
    await frames.aclose()
    assert pools.ejected("ngram") == []


async def test_a_pool_that_keeps_failing_waits_longer() -> None:
    """Though every poll finds it well."""
    client = FakePool()
    pools, clock, _ = pooled(client, FakePool())
    waits = []
    for _ in range(3):
        await pools.poll()
        await fail(pools, client, gone())
        await pools.poll()
        began_s = clock.now_s
        while not pools.snapshot()[0].available:
            clock.now_s += 1.0
        waits.append(clock.now_s - began_s)
    assert waits == [2.0, 4.0, 6.0]


async def test_the_last_pool_that_answers_is_used_whatever_it_did() -> None:
    """Panic: better one that failed a moment ago than none; but one that answers no poll is not there."""
    client, other = FakePool(), FakePool()
    pools, _, states = pooled(client, other)
    other.status_error = gone()
    await pools.poll()
    await fail(pools, client, gone())
    assert available(pools) == [False, False]
    await pools.poll()
    assert available(pools) == [True, False]
    assert states["ngram"].available


async def test_one_of_several_is_not_the_pool() -> None:
    """Its failures, however many at once, leave the pool there; only it is avoided, then asked by name."""
    client = Replicas("a", "b", "c")
    pools, clock, states = pooled(client, FakePool())
    await pools.poll()
    for _ in range(5):
        await fail(pools, client, ReplicaError("gone", replica="a"))
    assert available(pools) == [True, True]
    assert pools.ejected("ngram") == ["a"]
    _ = [frame async for frame in pools.serve("ngram", CALL)]
    assert client.avoided[-1] == {"a"}
    await pools.poll()
    assert client.asked[-1] == ("", frozenset({"a"}))
    clock.now_s = 2.0
    client.broken = {"a"}
    await pools.poll()
    assert client.asked[-1] == ("a", frozenset())
    assert pools.ejected("ngram") == ["a"]
    clock.now_s = 7.0
    client.broken = set()
    await pools.poll()
    assert pools.ejected("ngram") == []
    assert states["ngram"].available


async def test_a_replica_that_was_replaced_is_forgotten() -> None:
    """When another one answers in its name."""
    client = Replicas("a", "b", "c")
    pools, clock, states = pooled(client, FakePool())
    await pools.poll()
    await fail(pools, client, ReplicaError("gone", replica="a"))
    client.names = ["d", "b", "c"]
    clock.now_s = 3.0
    await pools.poll()
    assert pools.ejected("ngram") == []
    assert states["ngram"].replicas.count("a") == 0


async def test_a_dead_process_is_one_replica_however_often_it_is_told() -> None:
    """Ray names the actor of a dead replica; two of three make no dead pool, the third does."""
    client = Replicas("a", "b", "c")
    pools, _, _ = pooled(client, FakePool())
    await pools.poll()
    for process in ("1", "1", "1", "2", "2"):
        await fail(pools, client, ReplicaError("died", process=process))
    assert available(pools) == [True, True]
    await fail(pools, client, ReplicaError("died", process="3"))
    assert available(pools) == [False, True]


async def test_old_failures_do_not_add_up() -> None:
    """Replicas that died one after the other, hours apart, were replaced meanwhile."""
    client = Replicas("a", "b", "c")
    pools, clock, _ = pooled(client, FakePool())
    await pools.poll()
    for number in range(5):
        await fail(pools, client, ReplicaError("gone", replica=f"r{number}"))
        clock.now_s += 60.0
    assert available(pools) == [True, True]


async def test_a_stream_that_breaks_off_is_held_against_the_replica_that_began_it() -> None:
    """Ray's error of a dead actor does not say which replica that was; the first frame did."""
    client = Replicas("a", "b", "c")
    pools, _, _ = pooled(client, FakePool())
    await pools.poll()
    client.scripts = [[opening()._replace(replica="b"), ReplicaError("died", process="1")]]
    with pytest.raises(ReplicaError) as caught:
        _ = [frame async for frame in pools.serve("ngram", CALL)]
    assert caught.value.replica == "b"
    assert pools.ejected("ngram") == ["b"]


async def test_a_pool_that_answers_nothing_lets_its_calls_go(skipping: None) -> None:
    """A process that hangs fails no call by itself; after enough polls without an answer the calls are failed."""
    client = FakePool([opening(), asyncio.Event()])
    clock = Clock(0.0)
    pools = Pools([(NGRAM, client)], clock=clock, poll_timeout_s=0.001)
    await pools.poll()
    call = asyncio.create_task(_read(pools))
    await client.waiting.wait()

    async def hangs(*_: object) -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    client.status = hangs  # type: ignore[method-assign]
    for _ in range(3):
        clock.now_s += 5.0
        assert not call.done()
        await pools.poll()
    assert await settled(call.done)
    assert isinstance(call.exception(), ReplicaError)
    assert not pools.ready


async def test_a_pool_whose_streams_go_on_is_only_busy(skipping: None) -> None:
    """Frames that come while polls do not are a sign of life."""
    more = asyncio.Event()
    client = FakePool([opening(), more, opening(), asyncio.Event()])
    clock = Clock(0.0)
    pools = Pools([(NGRAM, client)], clock=clock, poll_timeout_s=0.01)
    await pools.poll()
    call = asyncio.create_task(_read(pools))
    await client.waiting.wait()

    async def hangs(*_: object) -> dict[str, Any]:
        clock.now_s += 1.0
        more.set()
        await asyncio.Event().wait()
        raise AssertionError

    client.status = hangs  # type: ignore[method-assign]
    for state in pools:
        state.failed_polls = 5
    await pools.poll()
    assert pools.ready
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


async def _read(pools: Pools) -> None:
    async for _ in pools.serve("ngram", CALL):
        pass


def test_pools_to_avoid_are_taken_when_there_are_no_others() -> None:
    """A request that failed at a pool goes there again only for want of another."""
    pools, _, states = pooled(FakePool(), FakePool())
    for state in states.values():
        state.available = True
    assert [p.available for p in pools.snapshot(frozenset({"ngram"}))] == [False, True]
    states["vanilla"].available = False
    assert [p.available for p in pools.snapshot(frozenset({"ngram"}))] == [True, False]
