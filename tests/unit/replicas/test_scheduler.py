"""Per-request k and the step log, on stand-ins of vLLM's two schedulers."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicas.scheduler import (
    K_KEY,
    AsyncPerRequestKScheduler,
    PerRequestKScheduler,
    StepLog,
    _AsyncCuts,
    _PerRequestK,
    draft_limit,
    scheduler_class,
)

pytestmark = pytest.mark.unit

K = 5


def request(k: int | None = None, name: str = "r", **fields: Any) -> Any:
    """A stand-in of vLLM's Request."""
    extra = {} if k is None else {K_KEY: k}
    defaults: dict[str, Any] = {
        "request_id": name,
        "sampling_params": SimpleNamespace(extra_args=extra),
        "spec_token_ids": [],
        "spec_decode_metrics": None,
        "num_output_tokens": 0,
        "max_tokens": 1000,
    }
    return SimpleNamespace(**(defaults | fields))


# -- the step log


def replay(log: StepLog, steps: list[tuple[int, int]], most_tokens: int) -> int:
    """Plays steps of (drafted, accepted) until `most_tokens` stop the request; returns the tokens it kept."""
    tokens = 0
    for number, (drafted, accepted) in enumerate([(0, 0), *steps]):
        if drafted:
            log.observe(drafted, accepted)
        kept = min(1 + accepted, most_tokens - tokens)
        log.close_step(kept, decode=number > 0)
        tokens += kept
        if tokens == most_tokens:
            break
    return tokens


step = st.integers(0, K).flatmap(lambda drafted: st.tuples(st.just(drafted), st.integers(0, drafted)))


@given(steps=st.lists(step, max_size=30), most_tokens=st.integers(1, 80))
def test_tokens_are_the_first_and_one_more_than_accepted_in_every_step(
    steps: list[tuple[int, int]], most_tokens: int
) -> None:
    """Tokens = 1 + sum(1 + accepted), wherever the request is cut."""
    log = StepLog.new(K)
    tokens = replay(log, steps, most_tokens)
    assert tokens == 1 + sum(1 + accepted for accepted in log.per_step_accepted)
    assert all(0 <= a <= d <= K for d, a in zip(log.per_step_drafted, log.per_step_accepted, strict=True))
    assert log.num_draft_tokens == sum(log.per_step_drafted)
    assert sum(log.histogram) == len(log.per_step_accepted)
    assert sum(n * count for n, count in enumerate(log.histogram)) == sum(log.per_step_accepted)


@given(steps=st.lists(step, max_size=30))
def test_what_is_not_cut_is_logged_as_it_was(steps: list[tuple[int, int]]) -> None:
    """Without a cut the log is the sequence of steps itself, those without drafts included."""
    log = StepLog.new(K)
    replay(log, steps, 10_000)
    assert list(zip(log.per_step_drafted, log.per_step_accepted, strict=True)) == steps


def test_a_cut_step_counts_what_was_kept_as_drafted_and_accepted() -> None:
    """Of five drafts, four accepted, of which three tokens were kept: two drafts are evidence."""
    log = StepLog.new(K)
    log.observe(5, 4)
    log.close_step(3, decode=True)
    assert (log.per_step_drafted, log.per_step_accepted) == ([2], [2])


def test_a_cut_behind_the_accepted_run_leaves_the_rejection_in() -> None:
    """The bonus token was the last: the rejected draft is evidence as usual."""
    log = StepLog.new(K)
    log.observe(5, 2)
    log.close_step(3, decode=True)
    assert (log.per_step_drafted, log.per_step_accepted) == ([5], [2])


def test_the_prefill_step_is_no_entry_and_leaves_nothing_behind() -> None:
    """Placeholder drafts vLLM may observe with a cached prompt do not reach the first decode step."""
    log = StepLog.new(K)
    log.observe(5, 0)
    log.close_step(1, decode=False)
    log.close_step(1, decode=True)
    assert (log.per_step_drafted, log.per_step_accepted, log.num_draft_tokens) == ([0], [0], 0)


# -- a request's own k


@pytest.mark.parametrize(("asked", "limit"), [(None, 5), (0, 0), (3, 3), (5, 5), (9, 5), (-2, 0)])
def test_draft_limit_is_the_requests_k_within_the_engines(asked: int | None, limit: int) -> None:
    """A request that names no k gets the engine's."""
    assert draft_limit(request(asked), 5) == limit


@pytest.mark.parametrize("params", [None, SimpleNamespace(extra_args=None)])
def test_draft_limit_without_parameters_is_the_engines(params: Any) -> None:
    """Pooling requests have no sampling parameters, others no extra arguments."""
    assert draft_limit(request(sampling_params=params), 5) == 5


# -- the schedulers


class Base:
    """As much of vLLM's Scheduler as the mix-in touches."""

    def __init__(
        self,
        *,
        k: int = K,
        method: str = "ngram",
        batch_sizes: list[int] | None = None,
        parallel_drafting: bool = False,
    ) -> None:
        self.num_spec_tokens = k
        self.dynamic_sd_lookup = batch_sizes
        self.max_num_running_reqs = 4
        self.requests: dict[str, Any] = {}
        config = SimpleNamespace(method=method, parallel_drafting=parallel_drafting) if k else None
        self.vllm_config = SimpleNamespace(speculative_config=config)
        self.metrics = bool(k)

    def add_request(self, request: Any) -> None:
        self.requests[request.request_id] = request
        if self.metrics:
            request.spec_decode_metrics = "vLLM's"

    def update_draft_token_ids(self, drafts: Any) -> None:
        for name, tokens in zip(drafts.req_ids, drafts.draft_token_ids, strict=True):
            if name in self.requests:
                self.requests[name].spec_token_ids = tokens

    def _update_after_schedule(self, output: Any) -> None:
        self.seen = output.num_spec_tokens_to_schedule

    def _update_request_with_output(
        self, request: Any, new: list[int], is_stale: bool = False
    ) -> tuple[list[int], bool]:
        kept = new[: request.max_tokens - request.num_output_tokens]
        request.num_output_tokens += len(kept)
        return kept, request.num_output_tokens == request.max_tokens


class AsyncBase(Base):
    """Schedules ahead: every request of the batch gets the same list of placeholders."""

    def _update_after_schedule(self, output: Any) -> None:
        super()._update_after_schedule(output)
        self.placeholders = [-1] * output.num_spec_tokens_to_schedule
        for name in output.num_scheduled_tokens:
            self.requests[name].spec_token_ids = self.placeholders


class SyncScheduler(_PerRequestK, Base):
    pass


class AheadScheduler(_AsyncCuts, _PerRequestK, AsyncBase):
    pass


@pytest.fixture(autouse=True)
def parents_asked_for(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Keeps the schedulers from tying the test process to its parent."""
    asked: list[bool] = []
    monkeypatch.setattr("replicas.scheduler.end_with_parent", lambda: asked.append(True))
    return asked


def batch(*names: str, k: int = K) -> Any:
    """A stand-in of vLLM's SchedulerOutput."""
    return SimpleNamespace(num_scheduled_tokens=dict.fromkeys(names, 1), num_spec_tokens_to_schedule=k)


both = pytest.mark.parametrize("scheduler", [SyncScheduler, AheadScheduler])


@both
def test_the_engine_core_ends_with_its_parent(scheduler: Any, parents_asked_for: list[bool]) -> None:
    """The scheduler is what of ours runs in the core, so it sees to that."""
    scheduler()
    assert parents_asked_for == [True]


@both
def test_padded_drafts_are_switched_off_by_a_constant_table(scheduler: Any) -> None:
    """With a table for every batch size vLLM pads no placeholders; one the operator set stays."""
    assert scheduler().dynamic_sd_lookup == [K] * 5
    assert scheduler(batch_sizes=[3, 2, 1, 1, 1]).dynamic_sd_lookup == [3, 2, 1, 1, 1]
    assert scheduler(k=0).dynamic_sd_lookup is None


@both
def test_a_new_request_gets_the_complete_log_once(scheduler: Any) -> None:
    """A further input of a streaming session continues the log it has."""
    scheduler = scheduler()
    new = request()
    scheduler.add_request(new)
    log = new.spec_decode_metrics
    assert isinstance(log, StepLog)
    new.spec_decode_metrics = log
    scheduler.metrics = False
    scheduler.add_request(new)
    assert new.spec_decode_metrics is log


def test_a_plain_engine_keeps_no_log_and_caps_nothing() -> None:
    """Without speculation the mix-in does nothing."""
    scheduler = SyncScheduler(k=0)
    plain = request(3)
    scheduler.add_request(plain)
    output = batch("r", k=0)
    scheduler._update_after_schedule(output)
    assert scheduler._update_request_with_output(plain, [1]) == ([1], False)
    assert plain.spec_decode_metrics is None
    assert output.num_spec_tokens_to_schedule == 0


def test_drafts_are_cut_to_each_requests_k() -> None:
    """Requests of one batch keep 0, 2 and all of their drafts; one that is gone is passed over."""
    scheduler = SyncScheduler()
    for name, k in (("none", 0), ("two", 2), ("all", None)):
        scheduler.add_request(request(k, name))
    names = ["none", "two", "gone", "all"]
    drafts = SimpleNamespace(req_ids=names, draft_token_ids=[[1, 2, 3, 4, 5] for _ in names])
    scheduler.update_draft_token_ids(drafts)
    kept = {name: len(r.spec_token_ids) for name, r in scheduler.requests.items()}
    assert kept == {"none": 0, "two": 2, "all": 5}


@both
@pytest.mark.parametrize(
    ("ks", "table", "expected"),
    [((0, 2, 3), 5, 3), ((0, 0), 5, 0), ((1, None), 5, 5), ((4, 5), 2, 2), ((), 5, 0)],
)
def test_the_drafter_looks_as_far_as_the_largest_k(
    scheduler: Any, ks: tuple[int | None, ...], table: int, expected: int
) -> None:
    """And never further than vLLM's own table says for the batch size."""
    scheduler = scheduler()
    names = [str(number) for number in range(len(ks))]
    for name, k in zip(names, ks, strict=True):
        scheduler.add_request(request(k, name))
    output = batch(*names, k=table)
    scheduler._update_after_schedule(output)
    assert output.num_spec_tokens_to_schedule == scheduler.seen == expected


@pytest.mark.parametrize(
    ("method", "parallel"), [("suffix", False), ("medusa", False), ("eagle3", True), ("draft_model", True)]
)
def test_drafters_that_insist_on_all_k_are_asked_for_all(method: str, *, parallel: bool) -> None:
    """Suffix decoding and Medusa assert the full k, parallel drafters sample k rows; only drafts are cut."""
    scheduler = SyncScheduler(method=method, parallel_drafting=parallel)
    scheduler.add_request(request(1))
    output = batch("r")
    scheduler._update_after_schedule(output)
    assert output.num_spec_tokens_to_schedule == K
    scheduler.update_draft_token_ids(SimpleNamespace(req_ids=["r"], draft_token_ids=[[1, 2, 3, 4, 5]]))
    assert scheduler.requests["r"].spec_token_ids == [1]


@pytest.mark.parametrize("method", ["dflash", "dspark", "eagle3"])
def test_parallel_drafters_that_are_scheduled_ahead_are_asked_for_all_too(method: str) -> None:
    """Their proposer divides its rows by what it was asked for, so less would mix requests up."""
    scheduler = AheadScheduler(method=method, parallel_drafting=True)
    for name, k in (("none", 0), ("two", 2)):
        scheduler.add_request(request(k, name))
    output = batch("none", "two")
    scheduler._update_after_schedule(output)
    assert output.num_spec_tokens_to_schedule == scheduler.seen == K
    assert {name: len(r.spec_token_ids) for name, r in scheduler.requests.items()} == {"none": 0, "two": 2}


def test_placeholders_are_cut_without_touching_the_shared_list() -> None:
    """VLLM hands every request the same list: cutting one request's must not cut another's."""
    scheduler = AheadScheduler()
    for name, k in (("none", 0), ("two", 2), ("four", 4)):
        scheduler.add_request(request(k, name))
    scheduler._update_after_schedule(batch("none", "two", "four"))
    assert {name: r.spec_token_ids for name, r in scheduler.requests.items()} == {
        "none": [],
        "two": [-1, -1],
        "four": [-1, -1, -1, -1],
    }
    assert scheduler.placeholders == [-1] * 4


@both
def test_steps_are_logged_as_outputs_arrive(scheduler: Any) -> None:
    """Prefill, a step with drafts, one without, and one that max_tokens cuts."""
    scheduler = scheduler()
    running = request(max_tokens=7)
    scheduler.add_request(running)
    log = running.spec_decode_metrics
    scheduler._update_request_with_output(running, [1])
    log.observe(3, 2)
    scheduler._update_request_with_output(running, [1, 2, 3])
    scheduler._update_request_with_output(running, [1])
    log.observe(5, 5)
    kept, stopped = scheduler._update_request_with_output(running, [1, 2, 3, 4, 5, 6])
    assert (kept, stopped) == ([1, 2], True)
    assert (log.per_step_drafted, log.per_step_accepted) == ([3, 0, 1], [2, 0, 1])


@pytest.mark.parametrize(
    ("ahead", "expected"), [(True, AsyncPerRequestKScheduler), (False, PerRequestKScheduler)]
)
def test_the_scheduler_is_named_so_that_vllm_finds_it(ahead: bool, expected: type) -> None:
    """VLLM imports the class by its dotted name in the engine core."""
    module, name = scheduler_class(async_scheduling=ahead).rsplit(".", 1)
    assert getattr(import_module(module), name) is expected


def test_our_methods_stand_before_vllms() -> None:
    """The mix-in overrides vLLM's scheduler, whose methods still have the names it overrides."""
    for ours in (PerRequestKScheduler, AsyncPerRequestKScheduler):
        assert ours.__mro__.index(_PerRequestK) < ours.__mro__.index(ours.__bases__[-1])
        for name in (
            "add_request",
            "update_draft_token_ids",
            "_update_after_schedule",
            "_update_request_with_output",
            "schedule",
            "update_from_output",
            "has_unfinished_requests",
        ):
            assert hasattr(ours.__bases__[-1], name)
