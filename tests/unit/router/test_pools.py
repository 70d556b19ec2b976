"""The pools: who is there, who is lost, who is back, and how many calls are on their way."""

import asyncio
import logging
from contextlib import aclosing
from typing import Any

import pytest
from fakes import NGRAM, VANILLA, FakePool, gone, opening, settled, whole

from replicas.frames import Call, ReplicaError
from router.pools import Pools, PoolState

pytestmark = pytest.mark.unit

CALL = Call("id", "/v1/chat/completions", b"{}", 0)


def two_pools(vanilla: FakePool, ngram: FakePool, **settings: float) -> Pools:
    return Pools([(VANILLA, vanilla), (NGRAM, ngram)], **settings)


def states(pools: Pools) -> dict[str, PoolState]:
    return {state.profile.name: state for state in pools}


async def test_a_pool_counts_once_it_answered() -> None:
    """Nothing is available before the first poll; one answering pool makes the router ready."""
    vanilla, ngram = FakePool(), FakePool()
    ngram.status_error = gone()
    pools = two_pools(vanilla, ngram)
    assert not pools.ready
    await pools.poll()
    assert pools.ready
    assert [pool.available for pool in pools.snapshot()] == [True, False]
    assert states(pools)["vanilla"].status == {"running": 0}


async def test_a_lost_pool_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    """A failing poll takes a pool away with its reason, a good one brings it back; each is logged once."""
    caplog.set_level(logging.INFO)
    pool = FakePool()
    pools = two_pools(pool, FakePool())
    await pools.poll()
    pool.status_error = ReplicaError("the actor died")
    for _ in range(3):
        await pools.poll()
    state = states(pools)["vanilla"]
    assert (state.available, state.last_error) == (False, "the actor died")
    pool.status_error = None
    await pools.poll()
    assert (state.available, state.last_error, state.failed_polls) == (True, None, 0)
    assert caplog.text.count("pool vanilla is ready") == 2
    assert caplog.text.count("pool vanilla cannot answer: the actor died") == 1


async def test_a_busy_pool_is_given_time(skipping: None) -> None:
    """A pool that only answers late is lost after the third time, not the first."""
    pool = FakePool()
    pools = two_pools(pool, FakePool(), poll_timeout_s=0.001)
    await pools.poll()

    async def late(*_: object) -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    pool.status = late  # type: ignore[method-assign]
    seen = []
    for _ in range(3):
        await pools.poll()
        seen.append(states(pools)["vanilla"].available)
    assert seen == [True, True, False]


async def test_a_pool_that_never_answered_is_not_there() -> None:
    """Before its first answer, a pool that answers late is starting."""
    pool = FakePool()
    pool.status_error = TimeoutError()
    pools = two_pools(pool, FakePool())
    await pools.poll()
    assert not states(pools)["vanilla"].available


async def test_an_unexpected_error_ends_no_watch(caplog: pytest.LogCaptureFixture) -> None:
    """A bug behind one pool's status takes that pool away; the watch goes on and finds it again."""
    pool, other = FakePool(), FakePool()
    pools = two_pools(pool, other)
    pool.status_error = KeyError("bug")
    rounds = asyncio.Semaphore(0)
    done = 0

    async def sleep(_: float) -> None:
        nonlocal done
        done += 1
        await rounds.acquire()

    watch = asyncio.create_task(pools.watch(1.0, sleep))
    assert await settled(lambda: done == 2)
    assert [pool.available for pool in pools.snapshot()] == [False, True]
    assert "unexpected answer" in caplog.text
    pool.status_error = None
    for _ in range(2):
        rounds.release()
    assert await settled(lambda: done == 4)
    assert [pool.available for pool in pools.snapshot()] == [True, True]
    watch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watch


async def test_a_pool_that_hangs_does_not_hold_up_what_others_say() -> None:
    """Each is asked for itself: a pool that takes minutes to load its model leaves the others' load known."""
    hanging, other = FakePool(), FakePool()

    async def status(**_: Any) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    hanging.status = status  # type: ignore[method-assign]
    pools = two_pools(hanging, other)
    rounds = 0

    async def sleep(_: float) -> None:
        nonlocal rounds
        rounds += 1
        await asyncio.sleep(0)

    watch = asyncio.create_task(pools.watch(1.0, sleep))
    assert await settled(lambda: rounds > 3)
    assert [pool.available for pool in pools.snapshot()] == [False, True]
    watch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watch


async def test_a_call_is_in_flight_until_it_is_closed() -> None:
    """Exhausted, closed early, failed or cancelled: the count returns to zero, and the call is closed."""
    waiting = asyncio.Event()
    pool = FakePool([whole()], [opening(), opening()], [gone()], [KeyError("bug")], [waiting])
    pools = two_pools(pool, FakePool())
    state = states(pools)["vanilla"]

    assert [frame async for frame in pools.serve("vanilla", CALL)] == [whole()]
    assert state.in_flight == 0
    async with aclosing(pools.serve("vanilla", CALL)) as frames:
        await anext(frames)
        assert state.in_flight == 1
    assert state.in_flight == 0
    for error in (ReplicaError, KeyError):
        with pytest.raises(error):
            _ = [frame async for frame in pools.serve("vanilla", CALL)]
        assert state.in_flight == 0
    call = asyncio.ensure_future(anext(pools.serve("vanilla", CALL)))
    await pool.waiting.wait()
    assert state.in_flight == 1
    call.cancel()
    assert await settled(lambda: state.in_flight == 0 and pool.open == 0)


async def test_only_a_pool_of_several_replicas_is_told_of_a_home() -> None:
    """A lone replica is everybody's home; asking for it would only cost."""
    lone, several = FakePool(), FakePool()
    pools = Pools([(VANILLA, lone), (NGRAM.model_copy(update={"replicas": 3}), several)])
    for profile in ("vanilla", "ngram"):
        assert [frame async for frame in pools.serve(profile, CALL, home="a1b2")] == [whole()]
    assert (lone.homes, several.homes) == ([""], ["a1b2"])


async def test_a_call_that_failed_takes_the_pool_away_until_a_poll() -> None:
    """A dead engine is believed at once; a bug in one answer says nothing about the engine."""
    pool = FakePool([gone()])
    pools = two_pools(pool, FakePool([KeyError("bug")]))
    await pools.poll()
    with pytest.raises(ReplicaError):
        await anext(pools.serve("vanilla", CALL))
    with pytest.raises(KeyError):
        await anext(pools.serve("ngram", CALL))
    assert [p.available for p in pools.snapshot()] == [False, True]
    await pools.poll()
    assert pools.ready


async def test_what_a_decision_sees_of_a_pool() -> None:
    """Capacity is that of all replicas; k and, before any is measured, the step time are the profile's."""
    profile = NGRAM.model_copy(update={"replicas": 3, "max_num_seqs": 8})
    pools = Pools([(profile, FakePool())])
    (pool,) = pools.snapshot()
    assert (pool.profile, pool.max_k, pool.capacity, pool.in_flight) == ("ngram", 8, 24, 0)
    assert pool.step_time == profile.step_cost.seed()
