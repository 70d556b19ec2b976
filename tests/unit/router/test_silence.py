"""Replicas that hang without failing: who is asked, who is given up, and whose calls go elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from fakes import NGRAM, VANILLA, Clock, FakePool, opening, settled, whole

from replicas.frames import Call, Frame, ReplicaError
from router.pools import Pools, PoolState
from router.silence import QUESTIONS, STEPS, STUCK, Silence
from router.waiting import Wait

pytestmark = pytest.mark.unit

CALL = Call("id", "/v1/chat/completions", b"{}", 0)
SEVERAL = NGRAM.model_copy(update={"replicas": 3})
LIMIT_S = 10.0


class Hanging(FakePool):
    """Replicas of which some give no frames, and some answer no question either."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = list(names)
        self.silent: set[str] = set()
        self.frozen: set[str] = set()
        self.passes = 0
        self.asked: list[str] = []
        self.turn = 0
        self.never = asyncio.Event()

    async def serve(
        self, call: Call, home: str = "", avoid: frozenset[str] = frozenset()
    ) -> AsyncGenerator[Frame, None]:
        """A stream of one event, which goes on when `never` is set; of the replicas in turn."""
        self.avoided.append(avoid)
        name = [name for name in self.names if name not in avoid][self.turn % len(self.names)]
        self.open += 1
        try:
            if name not in self.silent:
                yield opening()._replace(replica=name)
            await self.never.wait()
            yield whole()
        finally:
            self.open -= 1

    async def status(self, home: str = "", avoid: frozenset[str] = frozenset()) -> dict[str, Any]:
        if home:
            self.asked.append(home)
        name = home if home in self.names else next(n for n in self.names if n not in self.frozen | avoid)
        if name in self.frozen:
            await asyncio.Event().wait()
        return {"running": self.open, "replica": name, "passes": self.passes}


def pooled(client: FakePool, profile: Any = SEVERAL) -> tuple[Pools, Clock, PoolState]:
    clock = Clock(0.0)
    clients = [(profile, client), (VANILLA, FakePool())]
    pools = Pools(clients, clock=clock, poll_timeout_s=0.001, silence_s=LIMIT_S)
    return pools, clock, next(iter(pools))


async def met(pools: Pools, state: PoolState, client: Hanging) -> None:
    """Every replica has told of itself once."""
    await pools.poll()
    for name in client.names:
        state.note(await client.status(name), 0.0)
    client.asked.clear()


async def read(pools: Pools) -> list[Frame]:
    return [frame async for frame in pools.serve("ngram", CALL)]


async def under_way(pools: Pools, state: PoolState, count: int = 1) -> asyncio.Task[list[Frame]]:
    task = asyncio.create_task(read(pools))
    assert await settled(lambda: len(state.waiting) == count and all(w._task for w in state.waiting))
    for _ in range(5):
        await asyncio.sleep(0)
    return task


async def ended(*tasks: asyncio.Task[list[Frame]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_frozen_process_loses_its_streams_after_two_questions() -> None:
    """It is avoided from then on; streams of other replicas, and the pool, stay."""
    client = Hanging("a", "b", "c")
    pools, clock, state = pooled(client)
    await met(pools, state, client)
    on_a = await under_way(pools, state)
    client.turn = 1
    on_b = await under_way(pools, state, 2)
    client.frozen = {"a"}
    clock.now_s = LIMIT_S - 1
    await pools.poll()
    assert client.asked == []
    for _ in range(QUESTIONS):
        assert not on_a.done()
        clock.now_s += 1
        client.passes += 1
        await pools.poll()
    assert client.asked == ["a"] * QUESTIONS
    assert await settled(on_a.done)
    error = on_a.exception()
    assert isinstance(error, ReplicaError)
    assert error.replica == "a"
    assert not on_b.done()
    assert pools.ejected("ngram") == ["a"]
    assert pools.snapshot()[0].available
    await ended(on_b)


async def test_calls_nobody_has_begun_go_too_when_they_are_late() -> None:
    """Nothing tells where they are; those sent after a replica was given up are not there."""
    client = Hanging("a", "b", "c")
    pools, clock, state = pooled(client)
    await met(pools, state, client)
    client.silent = client.frozen = {"a"}
    early = await under_way(pools, state)
    clock.now_s = 5.0
    late = await under_way(pools, state, 2)
    for clock.now_s in (LIMIT_S, LIMIT_S + 1):
        await pools.poll()
    assert await settled(early.done)
    assert not late.done()
    client.silent = {"b"}
    clock.now_s += 0.1
    after = await under_way(pools, state, 2)
    assert "a" in client.avoided[-1]
    clock.now_s = 5.0 + LIMIT_S
    await pools.poll()
    assert await settled(late.done)
    clock.now_s += LIMIT_S
    client.passes += 1
    await pools.poll()
    assert not after.done()
    await ended(after)


async def test_a_replica_that_answers_and_works_is_left_in_peace() -> None:
    """An answer that is not streamed gives no frame for as long as it takes."""
    client = Hanging("a", "b", "c")
    pools, clock, state = pooled(client)
    await met(pools, state, client)
    client.silent = {"a"}
    task = await under_way(pools, state)
    for _ in range(100):
        clock.now_s += LIMIT_S / 2
        client.passes += 1
        await pools.poll()
    assert not task.done()
    assert pools.ejected("ngram") == []
    await ended(task)


@pytest.mark.parametrize("replicas", [1, 3])
async def test_an_engine_that_makes_no_pass_is_given_up(replicas: int) -> None:
    """Its process answers every question; that requests run there and nothing is done tells."""
    client = Hanging(*"abc"[:replicas])
    pools, clock, state = pooled(client, NGRAM.model_copy(update={"replicas": replicas}))
    await met(pools, state, client)
    task = await under_way(pools, state)
    while clock.now_s < STUCK * LIMIT_S:
        assert not task.done()
        await pools.poll()
        clock.now_s += 1.0
    await pools.poll()
    assert await settled(task.done)
    assert isinstance(task.exception(), ReplicaError)
    await pools.poll()
    assert pools.ejected("ngram") == (["a"] if replicas > 1 else ["ngram"])


async def test_the_replica_before_this_one_does_not_hang() -> None:
    """A pool of one whose replica was replaced: the old one makes no pass, since it is no more."""
    client = Hanging("a")
    pools, clock, state = pooled(client, NGRAM.model_copy(update={"replicas": 1}))
    await met(pools, state, client)
    client.names, client.silent = ["b"], {"b"}
    task = await under_way(pools, state)
    while clock.now_s < 2 * STUCK * LIMIT_S:
        client.passes, clock.now_s = client.passes + 1, clock.now_s + 1.0
        await pools.poll()
    assert (task.done(), pools.ejected("ngram")) == (False, [])
    await ended(task)


async def test_a_client_that_reads_slowly_is_no_silence() -> None:
    """Nobody waits for a frame while the last one is read."""
    client = Hanging("a", "b", "c")
    pools, clock, state = pooled(client)
    await met(pools, state, client)
    frames = pools.serve("ngram", CALL)
    await anext(frames)
    client.frozen = {"a"}
    for _ in range(10):
        clock.now_s += LIMIT_S
        await pools.poll()
    assert client.asked == []
    await frames.aclose()


async def test_a_replica_that_was_replaced_is_asked_no_more() -> None:
    """Another one answers in its place."""
    client = Hanging("a", "b", "c")
    pools, clock, state = pooled(client)
    await met(pools, state, client)
    task = await under_way(pools, state)
    client.names = ["d", "b", "c"]
    for _ in range(3):
        clock.now_s += LIMIT_S
        client.passes += 1
        await pools.poll()
    assert client.asked.count("a") == 1
    assert pools.ejected("ngram") == []
    await ended(task)


async def test_a_frozen_replica_is_not_forgotten_while_it_is_out() -> None:
    """When its time is over it is asked by name, and another's answer would mean that it is gone."""
    client = Hanging("a", "b", "c")
    pools, clock, state = pooled(client)
    await met(pools, state, client)
    task = await under_way(pools, state)
    client.frozen = {"a"}
    for clock.now_s in (LIMIT_S, LIMIT_S + 1):
        await pools.poll()
    await ended(task)
    clock.now_s += 2.0
    await pools.poll()
    assert pools.ejected("ngram") == ["a"]
    client.frozen = set()
    clock.now_s += 4.0
    await pools.poll()
    assert pools.ejected("ngram") == []


def test_slow_engines_get_more_time() -> None:
    """Twenty plain steps, where that is longer than what the deployment says."""
    assert Silence(10.0).limit_s(0.1) == 10.0
    assert Silence(10.0).limit_s(2.0) == 2.0 * STEPS


async def test_a_wait_given_up_while_its_client_reads_ends_with_the_next_one() -> None:
    """What came meanwhile is made again elsewhere."""

    async def frames() -> AsyncGenerator[Frame, None]:
        while True:
            yield Frame(b"x")

    wait, answer = Wait(0.0), frames()
    assert await wait.next_of(answer, 0.0) is not None
    wait.give_up()
    with pytest.raises(ReplicaError, match="stopped answering"):
        await wait.next_of(answer, 1.0)
    await answer.aclose()
