"""What a router tells pools with autoscaling, and what it learns of their engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes import NGRAM, FakePool, Harness, gone, request, whole
from ray.exceptions import RayActorError
from ray.serve.exceptions import RayServeException

from policies.scaling import PoolDemands, PoolLoad
from replicas.autoscaling import Autoscaling
from replicas.frames import Call, ReplicaError
from replicas.profiles import Profile
from router.admission import Admission
from router.pools import Pools
from router.scaling import Scaling
from router.serve_pools import ServePool

pytestmark = pytest.mark.unit

SCALED = Profile(name="vanilla", max_num_seqs=4, autoscaling=Autoscaling(max_replicas=3, headroom=1.0))


class ToldPool(FakePool):
    """A pool of so many engines, which are told things."""

    def __init__(self) -> None:
        super().__init__()
        self.engines: int | Exception = 1
        self.told: list[tuple[str, float]] = []

    async def expect(self, router: str, demand: float, limit_s: float) -> int:
        """Note it."""
        assert limit_s > 0
        if isinstance(self.engines, Exception):
            raise self.engines
        self.told.append((router, demand))
        return self.engines


def scaling_of(vanilla: FakePool, ngram: FakePool, scaled: Profile = SCALED) -> tuple[Pools, Scaling]:
    pools = Pools([(scaled, vanilla), (NGRAM, ngram)])
    return pools, Scaling(pools, PoolDemands(), Admission(pools), router="r", clock=lambda: 0.0)


async def test_a_pool_has_the_engines_that_were_reached() -> None:
    """With them its slots, and the room for requests; a pool of fixed size is not asked."""
    vanilla, ngram = ToldPool(), ToldPool()
    pools, scaling = scaling_of(vanilla, ngram)
    await pools.poll()
    assert (scaling.wanted, pools.snapshot()[0].capacity) == (True, 4)
    vanilla.engines = 3
    await scaling.tell()
    assert (pools.snapshot()[0].replicas, pools.snapshot()[0].capacity) == (3, 12)
    assert pools.room() == 12 + NGRAM.max_num_seqs
    assert (vanilla.told, ngram.told) == ([("r", 0.0)], [])
    vanilla.engines = 2
    await scaling.tell()
    assert pools.snapshot()[0].capacity == 8


@pytest.mark.parametrize("error", [gone(), TimeoutError(), ReplicaError("no replica answers")])
async def test_what_cannot_be_reached_keeps_its_size(error: Exception) -> None:
    """Whether anybody is there, polls tell."""
    vanilla = ToldPool()
    pools, scaling = scaling_of(vanilla, FakePool())
    vanilla.engines = 2
    await scaling.tell()
    vanilla.engines = error
    await scaling.tell()
    assert pools.snapshot()[0].replicas == 2


async def test_of_a_pool_that_grew_one_engine_may_fail() -> None:
    """With one engine the pool is lost with it, with two the other one goes on."""
    vanilla = ToldPool()
    pools, scaling = scaling_of(vanilla, FakePool())
    await pools.poll()
    vanilla.engines = 2
    await scaling.tell()
    vanilla.scripts = [[ReplicaError("it died", replica="a")]]

    async def fails() -> None:
        with pytest.raises(ReplicaError):
            await anext(pools.serve("vanilla", Call("id", "/v1/completions", b"{}", 0)))

    await fails()
    assert pools.snapshot()[0].available
    assert pools.ejected("vanilla") == ["a"]
    vanilla.engines = 1
    await scaling.tell()
    await fails()
    assert not pools.snapshot()[0].available


class Broadcast:
    """A deployment handle whose replicas give these answers to everything, or fail as one."""

    def __init__(self, answers: list[object] | Exception) -> None:
        self.answers = answers
        self.asked: list[tuple[object, ...]] = []

    def options(self, **_: object) -> Broadcast:
        """Itself, whatever is set."""
        return self

    def broadcast(self, *call: object) -> Broadcast:
        """Note the call."""
        self.asked.append(call)
        return self

    async def results_async(self, *, timeout_s: float, return_exceptions: bool) -> list[object]:
        """The answers."""
        assert (timeout_s, return_exceptions) == (5.0, True)
        if isinstance(self.answers, Exception):
            raise self.answers
        return self.answers


async def test_those_that_answer_are_counted() -> None:
    """A replica that died since Serve told of it does not."""
    handle: Any = Broadcast([None, RayActorError(), None])
    assert await ServePool(handle).expect("r", 2.5, 5.0) == 2
    assert handle.asked == [("expect", "r", 2.5)]


@pytest.mark.parametrize("answers", [[], [RayActorError()], RayServeException("none there")])
async def test_nobody_reached_is_no_number(answers: list[object] | Exception) -> None:
    """It is the failure that every other call would have."""
    handle: Any = Broadcast(answers)
    with pytest.raises(ReplicaError):
        await ServePool(handle).expect("r", 2.5, 5.0)


async def test_requests_in_flight_elsewhere_are_headroom() -> None:
    """The plain pool is told of what it would have if nobody drafted."""
    vanilla, ngram = ToldPool(), ToldPool()
    ngram.scripts = [[whole(), whole()]]
    pools, scaling = scaling_of(vanilla, ngram)
    frames = pools.serve("ngram", Call("id", "/v1/completions", b"{}", 4))
    await anext(frames)
    await scaling.tell()
    assert vanilla.told == [("r", 1.0)]
    await frames.aclose()
    await scaling.tell()
    assert vanilla.told[-1] == ("r", 0.0)


async def test_pools_of_fixed_size_are_told_nothing() -> None:
    """As in the embedded set-up: nobody asks for the task."""
    pools, scaling = scaling_of(ToldPool(), ToldPool(), Profile(name="vanilla", replicas=2))
    assert not scaling.wanted
    assert [state.engines for state in pools] == [2, 1]


async def test_a_decision_is_demand_on_its_pool(tmp_path: Path) -> None:
    """What is sent counts there with the time it should take; what is only asked about does not."""
    harness = await Harness(tmp_path, mode="always_speculative").ready()
    policy = harness.policies.resolve(tenant="default", task="code")
    pools = {"ngram": PoolLoad(0, drafts=True), "vanilla": PoolLoad(0, drafts=False)}
    for _ in range(30):
        harness.clock.now_s += 1
        harness.decider.decide(request(), "code", policy, sent=False)
    demands = harness.decider.demands
    assert demands.wanted(pools, waiting=0, now_s=harness.clock.now_s) == {"ngram": 0.0, "vanilla": 0.0}
    for _ in range(30):
        harness.clock.now_s += 1
        harness.decider.decide(request(), "code", policy)
    wanted = demands.wanted(pools, waiting=0, now_s=harness.clock.now_s)
    assert wanted["ngram"] > 0
    assert wanted["vanilla"] == 0
