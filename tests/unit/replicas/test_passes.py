"""Passes: their durations, what they worked on, and the way of their records to the front end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_scheduler import AsyncBase, Base, request
from vllm.v1.engine import EngineCoreOutputs
from vllm.v1.metrics.perf import DebugPerfStats, PerfStats
from vllm.v1.metrics.stats import SchedulerStats

from policies.cost import StepLoad
from replicas.passes import PassLogger, PassTimer, attach, detached, pass_load
from replicas.scheduler import _AsyncCuts, _PerRequestK

pytestmark = pytest.mark.unit


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def output(drafts: dict[str, int] | None = None, k: int = 5, **tokens: int) -> Any:
    """A stand-in of vLLM's SchedulerOutput."""
    return SimpleNamespace(
        num_scheduled_tokens=tokens,
        total_num_scheduled_tokens=sum(tokens.values()),
        scheduled_spec_decode_tokens={name: [-1] * count for name, count in (drafts or {}).items()},
        num_spec_tokens_to_schedule=k,
    )


def running(**outputs: int) -> dict[str, Any]:
    """Requests with prompts of 100 tokens and so many tokens of output."""
    return {
        name: request(name=name, num_output_tokens=count, num_tokens=100 + count)
        for name, count in outputs.items()
    }


# -- durations


def test_synchronous_passes_follow_each_other() -> None:
    """The first counts from its scheduling, each further one from the end of the one before."""
    clock = Clock()
    timer = PassTimer(clock)
    seconds = []
    for gap, duration in ((0.0, 1.0), (0.25, 1.5), (0.25, 2.0)):
        clock.now_s += gap
        timer.scheduled()
        clock.now_s += duration
        seconds.append(timer.ended(busy=True))
    assert seconds == [1.0, 1.75, 2.25]


def test_passes_scheduled_ahead_are_not_counted_twice() -> None:
    """With one pass queued behind the other, durations are the distances between ends and add up."""
    clock = Clock()
    timer = PassTimer(clock)
    timer.scheduled()
    timer.scheduled()
    clock.now_s += 3.0
    first = timer.ended(busy=True)
    timer.scheduled()
    clock.now_s += 2.0
    second = timer.ended(busy=True)
    clock.now_s += 2.0
    assert (first, second, timer.ended(busy=False)) == (3.0, 2.0, 2.0)


def test_a_rest_is_nobodys_time() -> None:
    """Nothing is counted between the end of the last request and the scheduling of the next."""
    clock = Clock()
    timer = PassTimer(clock)
    timer.scheduled()
    clock.now_s += 1.0
    timer.ended(busy=False)
    clock.now_s += 1000.0
    timer.scheduled()
    clock.now_s += 2.0
    assert timer.ended(busy=False) == 2.0


def test_an_end_without_a_beginning_has_no_duration() -> None:
    """An output that was scheduled before the timer was there."""
    assert PassTimer(Clock()).ended(busy=True) is None


# -- loads


def test_a_pass_counts_each_kind_of_work() -> None:
    """Decoding requests, drafts and contexts, and the prompts beside them."""
    requests = running(plain=10, drafting=20, starting=0)
    scheduled = output({"drafting": 3}, plain=1, drafting=4, starting=64)
    assert pass_load(scheduled, requests, drafter_is_model=False) == StepLoad(
        requests=2, verifying=1, drafted=3, asked=0, context=110 + 120, prefill=64
    )


def test_work_for_requests_that_are_gone_was_work() -> None:
    """Those that ended while the pass was under way, as engines that schedule ahead have them."""
    found = pass_load(output({"ended": 2}, ended=3, aborted=50), {}, drafter_is_model=False)
    assert found == StepLoad(requests=1, verifying=1, drafted=2, prefill=50)


def test_what_a_preempted_request_computes_again_is_like_a_prompt() -> None:
    """Many tokens without drafts, although it has output."""
    found = pass_load(output(again=130), running(again=30), drafter_is_model=False)
    assert found == StepLoad(prefill=130)


@pytest.mark.parametrize(("k", "asked"), [(4, 4), (1, 1), (0, 1)])
def test_a_drafting_model_works_even_for_nobody(k: int, asked: int) -> None:
    """It is asked for the batch's largest k, and keeps its cache where that is 0."""
    found = pass_load(output(k=k, a=1), running(a=5), drafter_is_model=True)
    assert found is not None
    assert found.asked == asked


def test_a_pass_without_tokens_is_none() -> None:
    """The engine only waited."""
    assert pass_load(output(), {}, drafter_is_model=True) is None


# -- the way to the front end

counts = st.integers(0, 10**6).map(float)


@given(st.builds(StepLoad, *(counts for _ in StepLoad._fields)), st.floats(1e-6, 600))
def test_a_record_crosses_vllms_wire(load: StepLoad, seconds: float) -> None:
    """Through the message format of vLLM's core, to a nanosecond, and is taken off at the other end."""
    outputs = {0: EngineCoreOutputs(scheduler_stats=SchedulerStats())}
    attach(outputs, load, seconds)
    wire = msgspec.msgpack.encode(outputs[0])
    stats = msgspec.msgpack.Decoder(EngineCoreOutputs).decode(wire).scheduler_stats
    found = detached(stats)
    assert found is not None
    assert found[0] == load
    assert found[1] == pytest.approx(seconds, abs=2e-9)
    assert detached(stats) is None


def test_without_statistics_a_record_is_lost_and_nothing_else() -> None:
    """Engines may run without them."""
    outputs = {0: EngineCoreOutputs()}
    attach(outputs, StepLoad(1), 0.1)
    attach({}, StepLoad(1), 0.1)
    assert outputs[0].scheduler_stats is None
    assert detached(None) is None
    assert detached(SchedulerStats()) is None


def test_vllms_own_debug_numbers_stay() -> None:
    """Where its debug metrics are on, they are neither overwritten nor taken off."""
    debug = DebugPerfStats(calc_duration=0.5, context_breakdown={"num_decode_tokens": 7})
    stats = SchedulerStats(perf_stats=PerfStats(num_flops_per_gpu=9, debug_stats=debug))
    attach({0: EngineCoreOutputs(scheduler_stats=stats)}, StepLoad(1), 0.1)
    assert detached(stats) == (StepLoad(1), 0.1)
    assert stats.perf_stats.num_flops_per_gpu == 9
    assert stats.perf_stats.debug_stats.context_breakdown == {"num_decode_tokens": 7}


def test_the_logger_hands_records_on_and_knows_who_waits() -> None:
    """What is no record is passed over."""
    seen: list[tuple[StepLoad, float]] = []
    logger = PassLogger(lambda load, seconds: seen.append((load, seconds)))
    logger.log_engine_initialized()
    logger.record(None, None)
    stats = SchedulerStats(num_waiting_reqs=2, num_skipped_waiting_reqs=1)
    logger.record(stats, None)
    assert (seen, logger.waiting) == ([], 3)
    attach({0: EngineCoreOutputs(scheduler_stats=stats)}, StepLoad(1, context=9), 0.25)
    logger.record(stats, None, mm_cache_stats=None, engine_idx=0)
    assert seen == [(StepLoad(1, context=9), 0.25)]


# -- in the schedulers


class Timed:
    """The part of vLLM's schedulers that passes go through."""

    requests: dict[str, Any]

    def schedule(self, throttle_prefills: bool = False) -> Any:
        return output(r=1)

    def update_from_output(self, scheduler_output: Any, model_output: Any) -> dict[int, Any]:
        self.requests = {name: r for name, r in self.requests.items() if name not in model_output}
        return {0: EngineCoreOutputs(scheduler_stats=SchedulerStats())}

    def has_unfinished_requests(self) -> bool:
        return bool(self.requests)


class SyncScheduler(_PerRequestK, Timed, Base):
    pass


class AheadScheduler(_AsyncCuts, _PerRequestK, Timed, AsyncBase):
    pass


@pytest.mark.parametrize("kind", [SyncScheduler, AheadScheduler])
@pytest.mark.parametrize(("method", "asked"), [("ngram", 0), ("suffix", 0), ("draft_model", 5)])
def test_schedulers_record_their_passes(
    monkeypatch: pytest.MonkeyPatch, kind: Any, method: str, asked: int
) -> None:
    """As the request was before its output was booked, also when that ends it; only models are asked."""
    monkeypatch.setattr("replicas.scheduler.end_with_parent", lambda: None)
    scheduler = kind(method=method)
    scheduler._passes = PassTimer(clock := Clock())
    scheduler.requests = running(r=3)
    for number, finished in enumerate([(), ("r",)], start=1):
        scheduled = scheduler.schedule(False)
        clock.now_s += number
        outputs = scheduler.update_from_output(scheduled, finished)
        assert detached(outputs[0].scheduler_stats) == (StepLoad(1, asked=asked, context=103), number)
    assert scheduler._passes._since is None


def test_a_record_costs_a_pass_some_bytes() -> None:
    """In the core's message, for a batch of sixteen as for one."""
    sizes = []
    for count in (1, 16):
        names = [f"request-{number}" for number in range(count)]
        scheduled = output(dict.fromkeys(names, 4), **dict.fromkeys(names, 5))
        timer, outputs = PassTimer(), {0: EngineCoreOutputs(scheduler_stats=SchedulerStats())}
        bare = len(msgspec.msgpack.encode(outputs[0]))
        timer.scheduled()
        load = pass_load(scheduled, running(**dict.fromkeys(names, 5)), drafter_is_model=False)
        seconds = timer.ended(busy=True)
        assert load is not None
        assert seconds is not None
        attach(outputs, load, seconds)
        sizes.append(len(msgspec.msgpack.encode(outputs[0])) - bare)
    print(f"record: {sizes[0]} and {sizes[1]} bytes on {bare}")
    assert max(sizes) < 600
    assert sizes[1] - sizes[0] < 16
