"""Requests that find no slot: whose turn it is, who is told to come back and when, and that nothing leaks."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fakes import VANILLA, Clock, FakePool, Harness, gone, last, opening, request, settled, state_of
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from policies.groups import Limits
from policies.inflight import PLAIN
from replicas.profiles import Profile
from router.admission import Admission, Slot
from router.admission_metrics import AdmissionCollector
from router.errors import DeadlineError, TooManyRequestsError, UnavailableError
from router.pools import Pools
from router.telemetry import Metrics

pytestmark = pytest.mark.unit

TINY = Profile(name="vanilla", max_num_seqs=2)
NGRAM = Profile(name="ngram", method="ngram", k=4, max_num_seqs=1)
FAR = float("inf")


async def gate_of(slots: int, *, queue_per_slot: float = 1.0, timer: Clock | None = None) -> Admission:
    """The admission to one pool that is there."""
    profile = VANILLA.model_copy(update={"max_num_seqs": slots})
    pools = Pools([(profile, FakePool())], clock=Clock())
    await pools.poll()
    return Admission(pools, queue_per_slot=queue_per_slot, timer=timer or Clock(0.0))


def enter(
    admission: Admission, tenant: str = "acme", until_s: float = FAR, **limits: Any
) -> asyncio.Task[Slot]:
    return asyncio.create_task(admission.enter(tenant, Limits(max_concurrency=100, **limits), until_s))


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Crowd:
    """Clients of one admission with three slots."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.calls: list[asyncio.Task[Slot]] = []

    def ask(self, number: int) -> None:
        tenant = number % 4
        self.calls.append(enter(self.admission, f"t{tenant}", weight=1.0 + tenant))

    def cancel(self, number: int) -> None:
        if self.calls:
            self.calls[number % len(self.calls)].cancel()

    def end(self, number: int) -> None:
        """One that was let in ends; one that was refused or cancelled is forgotten."""
        over = [call for call in self.calls if call.done()]
        if over:
            call = over[number % len(over)]
            self.calls.remove(call)
            if not call.cancelled() and call.exception() is None:
                self.admission.leave(call.result())


@given(st.lists(st.tuples(st.sampled_from(["ask", "end", "cancel"]), st.integers(0, 50)), max_size=60))
def test_any_traffic_leaves_nothing_behind(steps: list[tuple[str, int]]) -> None:
    """Arrivals, endings, clients that leave at any moment: never too many at once, and all slots come back."""

    async def traffic() -> None:
        admission = await gate_of(3)
        crowd = Crowd(admission)
        for step, number in steps:
            getattr(crowd, step)(number)
            await turns(number % 3)
            assert admission.running <= admission.capacity
            assert not admission.waiting or admission.running == admission.capacity
        for _ in range(len(crowd.calls)):
            await turns(3)
            crowd.end(0)
        assert not crowd.calls, "somebody waits though nobody is left"
        assert (admission.running, admission.waiting, admission._turns) == (0, 0, {})

    asyncio.run(traffic())


async def test_whoever_leaves_in_the_moment_of_its_turn_gives_it_on() -> None:
    """The slot goes to the next in line, not with the one that left."""
    admission = await gate_of(1)
    slot = await enter(admission)
    leaving, staying = enter(admission), enter(admission, "globex")
    await turns()
    admission.leave(slot)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    admission.leave(await staying)
    assert (admission.running, admission.waiting) == (0, 0)


async def test_the_wait_ends_with_the_deadline(skipping: None) -> None:
    """It counts from the arrival; who waited in vain leaves nothing behind."""
    admission = await gate_of(1)
    slot = await enter(admission)
    with pytest.raises(TimeoutError):
        await enter(admission, until_s=asyncio.get_running_loop().time() + 0.01)
    assert (admission.running, admission.waiting, admission.refused["deadline"]) == (1, 0, 1)
    admission.leave(slot)


async def test_retry_after_is_measured() -> None:
    """So many turns of a residence time, shared by the tenant's slots; at least a second."""
    timer = Clock(0.0)
    admission = await gate_of(2, timer=timer)
    slots = [await enter(admission) for _ in range(2)]
    with pytest.raises(TooManyRequestsError, match=r"max_concurrency is 2: retry after 1 s") as told:
        await admission.enter("acme", Limits(max_concurrency=2), FAR)
    assert told.value.retry_after_s == 1
    timer.now_s += 30.0
    for slot in slots:
        admission.leave(slot)
    assert admission.residence_s() == pytest.approx(30.0)
    slots = [await enter(admission) for _ in range(2)]
    waiting = [enter(admission) for _ in range(2)]
    await turns()
    with pytest.raises(TooManyRequestsError, match="queue are full") as told:
        await enter(admission)
    assert told.value.retry_after_s == 45  # three turns of 30 s on two slots
    with pytest.raises(TooManyRequestsError, match="longer than the deadline") as told:
        await enter(admission, "globex", until_s=asyncio.get_running_loop().time() + 20.0)
    assert told.value.retry_after_s == 60  # two turns on the one slot that is its share
    assert admission.refused == {"max_concurrency": 1, "queue_full": 1, "deadline": 1}
    for slot in slots:
        admission.leave(slot)
    for task in waiting:
        admission.leave(await task)


async def test_slots_follow_the_pools() -> None:
    """What others have there is taken off, down to this router's share; slow readers take none."""
    pool = FakePool()
    profile = VANILLA.model_copy(update={"max_num_seqs": 8})
    pools = Pools([(profile, pool)], clock=Clock())
    admission = Admission(pools, routers=4)
    admission.refresh()
    assert admission.capacity == 0
    (state,) = pools
    for present, own, capacity in ((0, 0, 8), (3, 0, 5), (9, 1, 2), (90, 0, 2), (6, 8, 10), (0, 60, 16)):
        pool.open = present
        for _ in range(own):
            state.flying.add(PLAIN)
        await pools.poll()
        admission.refresh()
        assert admission.capacity == capacity
        for _ in range(own):
            state.flying.remove(PLAIN)
    pool.status_error = gone()
    await pools.poll()
    admission.refresh()
    assert admission.capacity == 0


async def test_without_an_engine_nobody_waits() -> None:
    """Those in line are told 503 with Retry-After, and so is who comes now."""
    pool = FakePool()
    pools = Pools([(TINY, pool)], clock=Clock())
    await pools.poll()
    admission = Admission(pools, timer=Clock(0.0))
    slots = [await enter(admission) for _ in range(2)]
    waiting = enter(admission)
    await turns()
    pool.status_error = gone()
    await pools.poll()
    admission.refresh()
    for refused in (waiting, enter(admission)):
        with pytest.raises(UnavailableError) as told:
            await refused
        assert told.value.retry_after_s
    for slot in slots:
        admission.leave(slot)
    assert (admission.running, admission.waiting) == (0, 0)


async def test_slots_that_come_back_go_to_those_who_wait() -> None:
    """Without anybody ending."""
    pool = FakePool()
    other = FakePool()
    other.status_error = gone()
    pools = Pools([(TINY, pool), (NGRAM, other)], clock=Clock())
    await pools.poll()
    admission = Admission(pools, timer=Clock(0.0))
    slots = [await enter(admission) for _ in range(2)]
    waiting = enter(admission)
    await turns()
    assert not waiting.done()
    other.status_error = None
    await pools.poll()
    watching = asyncio.create_task(admission.watch())
    slots.append(await waiting)
    watching.cancel()
    assert admission.running == admission.capacity == 3
    for slot in slots:
        admission.leave(slot)


async def full_service(folder: Path, release: asyncio.Event, **spec: Any) -> Harness:
    """Three slots, three streams that wait for `release`."""
    steps = [opening(), release, last()]
    pools = {"ngram": FakePool(steps), "vanilla": FakePool(steps)}
    return await Harness(folder, profiles=(TINY, NGRAM), **pools, **spec).ready()  # type: ignore[arg-type]


def expected_of(harness: Harness) -> float:
    """The requests that crowds know of."""
    return sum(followed.mix.requests for followed in harness.decider.crowds._pools.values())


async def test_a_request_that_waited_is_decided_when_it_is_its_turn(tmp_path: Path) -> None:
    """By the state of then: the pool it was meant for when it came has gone meanwhile."""
    release = asyncio.Event()
    harness = await full_service(tmp_path, release)
    running = [asyncio.create_task(harness.answer(request(stream=True))) for _ in range(4)]
    assert await settled(lambda: harness.admission.waiting == 1)
    assert harness.ngram.open + harness.vanilla.open == 3
    harness.ngram.status_error = gone()
    await harness.pools.poll()
    calls = len(harness.vanilla.calls)
    # What waits, or is refused, is no load of the engines yet.
    assert expected_of(harness) == pytest.approx(3.0, rel=0.01)
    release.set()
    await asyncio.gather(*running)
    assert len(harness.vanilla.calls) == calls + 1
    assert expected_of(harness) == pytest.approx(4.0, rel=0.01)
    assert [outcome.result for outcome in harness.outcomes] == ["completed"] * 4
    assert harness.idle


@pytest.mark.parametrize("header", [None, "10ms", "1h"])
async def test_a_deadline_in_line(skipping: None, tmp_path: Path, header: str | None) -> None:
    """504 and one outcome; a header may only shorten the policy's."""
    policy = "10s" if header == "10ms" else "20ms"
    release = asyncio.Event()
    harness = await full_service(tmp_path, release, limits={"deadline": "10s"})
    running = [asyncio.create_task(harness.answer(request(stream=True))) for _ in range(3)]
    assert await settled(lambda: harness.admission.running == 3)
    harness.policy_file.write_text(harness.policy_file.read_text().replace('"10s"', f'"{policy}"'))
    harness.policies.reload()
    given_headers = {"x-specroute-deadline": header} if header else {}
    with pytest.raises(DeadlineError, match="Deadline" if header == "10ms" else r"limits\.deadline of 0\.02"):
        await harness.answer(request(given_headers, stream=True))
    assert [(outcome.result, outcome.status) for outcome in harness.outcomes] == [("failed", 504)]
    release.set()
    await asyncio.gather(*running)
    assert harness.idle


async def test_who_leaves_the_line_is_an_outcome_too(tmp_path: Path) -> None:
    """Cancelled, without a status, and nothing was asked of an engine."""
    release = asyncio.Event()
    harness = await full_service(tmp_path, release)
    running = [asyncio.create_task(harness.answer(request(stream=True))) for _ in range(4)]
    assert await settled(lambda: harness.admission.waiting == 1)
    running[-1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await running.pop()
    assert [(outcome.result, outcome.status) for outcome in harness.outcomes] == [("cancelled", 0)]
    release.set()
    await asyncio.gather(*running)
    assert len(harness.ngram.calls) + len(harness.vanilla.calls) == 3
    assert harness.idle


async def test_metrics_of_admission(tmp_path: Path) -> None:
    """Every cause is there from the start, so that rates can be formed."""
    harness = await Harness(tmp_path, limits={"max_concurrency": 1}).ready()
    held = await harness.service.respond(request())
    with pytest.raises(TooManyRequestsError):
        await harness.answer(request())
    metrics = Metrics(state_of(harness))
    metrics.registry.register(AdmissionCollector(harness.admission))
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
    }
    assert found["specroute_refused_total", "max_concurrency"] == 1
    assert found["specroute_refused_total", "fair_share"] == 0
    assert found["specroute_admission_waiting",] == 0
    assert found["specroute_admission_running",] == 1
    assert found["specroute_admission_slots",] == 32
    await held.body.aclose()
