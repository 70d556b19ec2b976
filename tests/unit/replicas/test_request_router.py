"""Whom the request router of a pool asks, with replicas that only have a queue."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from ray.serve._private.common import DeploymentHandleSource, DeploymentID, RequestMetadata
from ray.serve.request_router import PendingRequest, ReplicaID

from replicas.request_router import HomeFirst, place

pytestmark = pytest.mark.unit

POOL = DeploymentID(name="vanilla", app_name="specroute")
SLOTS = 4


@dataclass
class Replica:
    """As much of Serve's `RunningReplica` as choosing needs."""

    name: str
    queue: int = 0
    max_ongoing_requests: int = 5 * SLOTS
    node_id: str = "node"
    availability_zone: str | None = None
    multiplexed_model_ids: tuple[str, ...] = ()

    @property
    def replica_id(self) -> ReplicaID:
        return ReplicaID(unique_id=self.name, deployment_id=POOL)

    async def get_queue_len(self, *, deadline_s: float) -> int:
        return self.queue


async def router_of(*replicas: Replica) -> HomeFirst:
    """A request router that has asked every replica for its queue."""
    router = HomeFirst(
        deployment_id=POOL,
        handle_source=DeploymentHandleSource.REPLICA,
        use_replica_queue_len_cache=True,
    )
    router.initialize_state(slots=SLOTS)
    router.update_replicas(list(replicas))  # type: ignore[arg-type]  # stand-ins
    await asyncio.gather(*(task for task in asyncio.all_tasks() if task is not asyncio.current_task()))
    assert all(router.replica_queue_len_cache.get(replica.replica_id) is not None for replica in replicas)
    return router


def pending(home: str = "") -> PendingRequest:
    metadata = RequestMetadata(
        request_id="x",
        internal_request_id=uuid4().hex,
        call_method="serve",
        is_streaming=True,
        session_id=home,
    )
    return PendingRequest(args=[], kwargs={}, metadata=metadata)


async def groups(router: HomeFirst, request: PendingRequest | None) -> list[list[str]]:
    """The names of the chosen replicas, group by group."""
    chosen = await router.choose_replicas(list(router.curr_replicas.values()), request)
    return [[replica.replica_id.unique_id for replica in group] for group in chosen]


async def answered_by(router: HomeFirst, homes: Sequence[str]) -> list[Any]:
    """Who gets requests that arrive together, as Serve's routing tasks have it."""
    chosen = await asyncio.gather(*(router._choose_replica_for_request(pending(home)) for home in homes))
    return [replica.replica_id.unique_id for replica in chosen]


async def test_the_home_is_asked_first_and_then_two_others() -> None:
    """However long its queue is beside those of idle replicas, while it has a slot."""
    router = await router_of(Replica("a"), Replica("b", queue=SLOTS - 1), Replica("c"))
    for _ in range(20):
        first, second = await groups(router, pending("b"))
        assert first == ["b"]
        assert len(set(second)) == 2
    assert await answered_by(router, ["b"]) == ["b"]


async def test_without_a_home_two_are_drawn() -> None:
    """For first turns, for calls that are no requests, and for homes that are gone: all pairs come up."""
    router = await router_of(Replica("a"), Replica("b"), Replica("c"))
    for request in (pending(), None, pending("gone")):
        drawn: Counter[frozenset[str]] = Counter()
        for _ in range(100):
            (pair,) = await groups(router, request)
            drawn[frozenset(pair)] += 1
        assert set(drawn) == {frozenset("ab"), frozenset("ac"), frozenset("bc")}
    assert await groups(await router_of(Replica("a")), pending()) == [["a"]]


async def test_first_turns_go_where_there_is_room() -> None:
    """Of two the one with the shorter queue."""
    router = await router_of(Replica("a", queue=3), Replica("b", queue=1))
    assert await answered_by(router, ["", ""]) == ["b", "b"]


async def test_a_home_without_a_free_slot_is_one_of_two() -> None:
    """The prefix is given up for a shorter queue, but not for a longer one."""
    router = await router_of(Replica("a", queue=SLOTS), Replica("b"), Replica("c"))
    for _ in range(20):
        (pair,) = await groups(router, pending("a"))
        assert pair[0] == "a"
        assert pair[1] in {"b", "c"}
    assert (await answered_by(router, ["a"]))[0] in {"b", "c"}
    crowded = await router_of(Replica("a", queue=SLOTS), *(Replica(name, queue=9) for name in "bc"))
    assert await answered_by(crowded, ["a"]) == ["a"]


async def test_a_home_that_refuses_is_left_for_another() -> None:
    """Its queue is asked for anew, since it may have moved; if it is still full the others are asked."""
    full = Replica("a", queue=3, max_ongoing_requests=3)
    router = await router_of(full, Replica("b"))
    assert await answered_by(router, ["a"]) == ["b"]
    full.queue = 2
    assert await answered_by(router, ["a"]) == ["a"]


async def test_a_home_that_died_is_left_for_another() -> None:
    """As soon as Serve's handle knows, before the controller does."""
    router = await router_of(Replica("a"), Replica("b"))
    router.on_replica_actor_died(ReplicaID(unique_id="a", deployment_id=POOL))
    assert await groups(router, pending("a")) == [["b"]]
    assert await answered_by(router, ["a"]) == ["b"]


async def test_requests_that_arrive_together_do_not_swap_homes() -> None:
    """A replica goes to the request it was chosen for, even while an earlier one waits to hear from its own."""
    asked_again = Replica("a", queue=2, max_ongoing_requests=2)
    router = await router_of(asked_again, Replica("b"), Replica("c"))
    asked_again.queue = 0
    homes = ["a", "b", "c", "a", "c", "b"] * 3
    assert await answered_by(router, homes) == homes


async def test_replicas_to_avoid_are_not_asked_while_there_are_others() -> None:
    """Not even as a home; when all are to be avoided it is as if none were."""
    router = await router_of(*(Replica(name) for name in "abc"))
    for _ in range(10):
        assert {name for group in await groups(router, pending(place("", ["a"]))) for name in group} == {
            "b",
            "c",
        }
    assert await answered_by(router, [place("a", ["a", "b"])]) == ["c"]
    assert await answered_by(router, [place("b", ["a"])]) == ["b"]
    assert await answered_by(router, [place("", ["a", "b", "c"])])


async def test_a_question_to_one_replica_is_answered_by_no_other() -> None:
    """Not even while its slots are taken, so that it can be told whether it hangs; but where it is gone."""
    router = await router_of(Replica("a", queue=SLOTS), Replica("b"), Replica("c"))
    for _ in range(10):
        assert await groups(router, pending(place("a", only=True))) == [["a"]]
    router.on_replica_actor_died(ReplicaID(unique_id="a", deployment_id=POOL))
    assert await groups(router, pending(place("a", only=True))) in ([["b", "c"]], [["c", "b"]])
