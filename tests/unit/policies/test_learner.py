"""The learner: what counts, what is believed about whom, how old that may be, and what is never asked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from random import Random

import pytest
from drafting import simulated_request
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.acceptance import Estimate, pooled
from policies.cells import CellDelta, CellKey, CellRecord, Origin, TemperatureBucket
from policies.evidence import RequestSteps
from policies.learner import FRESH_S, IDLE_S, Drafter, Learner
from policies.memory_evidence import MemoryEvidence
from policies.replay import Replayed
from policies.resolve import EffectivePolicy, resolve
from policies.schema import RoutingPolicy
from policies.tasks import TASKS

pytestmark = pytest.mark.unit

T0 = 1_700_000_000.0
HALF_LIFE_S = 600.0
DRAFTERS = {"draft": Drafter("draft_model", 6), "ngram": Drafter("ngram", 4), "vanilla": Drafter("none", 0)}
GOOD, BAD = RequestSteps(4, [4] * 10, [4] * 10), RequestSteps(4, [4] * 10, [0] * 10)


def policy(**spec: object) -> EffectivePolicy:
    document = {
        "apiVersion": "specroute/v1", "kind": "RoutingPolicy", "metadata": {"name": "test"}, "spec": spec,
    }  # fmt: skip
    return resolve(RoutingPolicy.model_validate(document), tenant="acme", task="code")


POLICY = policy()


class Counting(MemoryEvidence):
    """Counts how often cells are read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def __getitem__(self, key: CellKey) -> CellRecord:
        self.reads += 1
        return super().__getitem__(key)


class Bench:
    """A learner over memory, with short calls."""

    def __init__(self, evidence: MemoryEvidence | None = None) -> None:
        self.evidence = evidence or Counting()
        self.learner = Learner(self.evidence, DRAFTERS)

    def record(
        self,
        steps: RequestSteps = GOOD,
        *,
        profile: str = "draft",
        task: str = "code",
        temperature: TemperatureBucket = "low",
        tenant: str = "acme",
        half_life_s: float = HALF_LIFE_S,
        now_s: float = T0,
    ) -> bool:
        return self.learner.record(profile, Origin(task, temperature, tenant, half_life_s), steps, now_s)

    def replay(self, counters: Mapping[str, float], *, tenant: str = "acme", now_s: float = T0) -> bool:
        return self.learner.record_replay(
            "ngram", Origin("code", "low", tenant, HALF_LIFE_S), counters, now_s
        )

    def believed(
        self,
        *,
        profile: str = "draft",
        task: str = "code",
        temperature: TemperatureBucket = "low",
        tenant: str = "acme",
        now_s: float = T0,
        under: EffectivePolicy = POLICY,
    ) -> Estimate:
        return self.learner.estimate(
            profile=profile, task=task, temperature=temperature, tenant=tenant, policy=under, now_s=now_s
        )


def replayed(alpha: float, seed: int = 1) -> dict[str, float]:
    rng = Random(seed)
    return Replayed(
        tuple(simulated_request(rng, (alpha,), (1.0,), k=k, tokens=80) for k in range(1, 5))
    ).counters()


def test_a_request_counts_for_its_task_and_its_tenant() -> None:
    """In the cell of its temperature, of both."""
    bench = Bench()
    assert bench.record()
    assert set(bench.evidence) == {CellKey("draft", "code", "low"), CellKey("draft", "code", "low", "acme")}


@pytest.mark.parametrize("times", [2, 7])
def test_answers_to_one_prompt_count_as_one_where_they_are_weighed_so(times: int) -> None:
    """What engines counted and what replays did; lifetime totals count every answer."""
    once, often = Bench(), Bench()
    once.record()
    once.replay(replayed(0.5))
    weighed = Origin("code", "low", "acme", HALF_LIFE_S, 1 / times)
    for _ in range(times):
        assert often.learner.record("draft", weighed, GOOD, T0)
        assert often.learner.record_replay("ngram", weighed, replayed(0.5), T0)
    assert set(often.evidence) == set(once.evidence)
    for key in once.evidence:
        assert often.evidence[key].counters == pytest.approx(once.evidence[key].counters)
    assert often.evidence[CellKey("draft", "code", "low")].lifetime["requests"] == times


@pytest.mark.parametrize("weight", [0.0, -1.0, 1.5, math.nan])
def test_a_weight_that_makes_no_sense_counts_nowhere(weight: float) -> None:
    """No request counts more than one."""
    bench = Bench()
    assert not bench.learner.record("draft", Origin("code", "low", "acme", HALF_LIFE_S, weight), GOOD, T0)
    assert len(bench.evidence) == 0


def test_a_tenants_own_request_shows_at_once() -> None:
    """However many requests the task has."""
    bench = Bench()
    for n in range(100):
        bench.record(tenant=f"tenant{n}")
    before = bench.believed()
    bench.record(BAD)
    assert bench.believed().alpha < before.alpha


def test_what_others_completed_shows_at_once_while_little_is_known() -> None:
    """The first requests of a task move everyone's estimate."""
    bench = Bench()
    before = bench.believed(tenant="else")
    bench.record(BAD)
    assert bench.believed(tenant="else").alpha < before.alpha


def test_what_others_completed_shows_within_a_second_where_much_is_known() -> None:
    """And costs nothing before: the estimate is the same object, and no cell is read."""
    bench = Bench()
    for n in range(100):
        bench.record(tenant=f"tenant{n}")
    before = bench.believed()
    for n in range(100):
        bench.record(BAD, tenant=f"tenant{n}")
    reads = bench.evidence.reads  # type: ignore[attr-defined]
    assert bench.believed(now_s=T0 + 0.99 * FRESH_S) is before
    assert bench.evidence.reads == reads  # type: ignore[attr-defined]
    assert bench.believed(now_s=T0 + FRESH_S).alpha < before.alpha - 0.1


def test_a_change_that_does_not_matter_makes_nothing_anew() -> None:
    """A task read again that hardly moved leaves its tenants' estimates alone, for a time."""
    bench = Bench()
    for n in range(400):
        bench.record(tenant=f"tenant{n % 40}")
    before = bench.believed(tenant="tenant1")
    bench.record(tenant="tenant2")
    assert bench.believed(tenant="tenant1", now_s=T0 + 2) is before
    assert bench.believed(tenant="tenant1", now_s=T0 + 400) is not before


def test_what_is_a_little_old_serves_once_more_and_is_made_anew_meanwhile() -> None:
    """The request that notices does not wait for it; the next refresh does the work."""
    bench = Bench()
    for n in range(400):
        bench.record(tenant=f"tenant{n % 40}")
    before = bench.believed(tenant="tenant1")
    assert bench.believed(tenant="tenant1", now_s=T0 + 160) is before
    bench.learner.refresh(T0 + 160)
    assert bench.believed(tenant="tenant1", now_s=T0 + 160) is not before


def test_refreshing_takes_the_reading_out_of_the_requests() -> None:
    """After it a request finds everything in memory, its own tenant's change included."""
    bench = Bench()
    for n in range(100):
        bench.record(tenant=f"tenant{n}")
    bench.believed()
    bench.record(BAD)
    assert bench.learner.refresh(T0 + 0.9 * FRESH_S) == 2  # the task and the tenant
    reads = bench.evidence.reads  # type: ignore[attr-defined]
    assert bench.believed(now_s=T0 + 1.5 * FRESH_S).own_steps == pytest.approx(9, abs=0.1)
    assert bench.evidence.reads == reads  # type: ignore[attr-defined]
    assert bench.learner.refresh(T0 + 1.5 * FRESH_S) <= 1


def test_refreshing_sees_what_came_through_the_store() -> None:
    """Another router's request of the same tenant, in a task with many."""
    bench = Bench()
    for n in range(100):
        bench.record(tenant=f"tenant{n}")
    before = bench.believed()
    Bench(bench.evidence).record(BAD)
    bench.learner.refresh(T0)
    assert bench.believed().alpha < before.alpha


def test_tasks_nobody_asks_about_are_not_refreshed_for_ever() -> None:
    """They are forgotten, and read again when somebody does."""
    bench = Bench()
    bench.believed()
    assert bench.learner.refresh(T0 + 1) == 1
    assert bench.learner.refresh(T0 + IDLE_S + 2) == 0
    assert not bench.learner._tasks
    assert not bench.learner._settings
    assert bench.believed(now_s=T0 + 1000).alpha > 0


def test_a_drafter_worse_than_assumed_lowers_unseen_tasks() -> None:
    """All tasks but one show bad drafts; an operator's own prior stands nevertheless."""
    bench = Bench()
    before = bench.believed(task="qa").alpha
    rng = Random(2)
    for task in TASKS:
        if task != "qa":
            for _ in range(30):
                bench.record(simulated_request(rng, (0.3,), (1.0,), k=4, tokens=60), task=task)
    assert bench.believed(task="qa", now_s=T0 + 10).alpha < before - 0.15
    own = policy(tasks={"code": {"prior_alpha": 0.84}})
    assert bench.believed(task="unseen", under=own, now_s=T0 + 10).alpha == pytest.approx(0.84)


def test_custom_tasks_count_toward_what_is_common() -> None:
    """Their names are learned from the cells."""
    bench = Bench()
    before = bench.believed(task="qa").alpha
    rng = Random(3)
    for n in range(8):
        for _ in range(30):
            bench.record(simulated_request(rng, (0.2,), (1.0,), k=4, tokens=60), task=f"custom{n}")
    assert bench.believed(task="qa", now_s=T0 + 10).alpha < before - 0.1


def test_replays_are_what_is_believed_of_a_drafter_that_copies() -> None:
    """They go to cells of their own, and outweigh what the engine counted, at every k."""
    bench = Bench()
    for _ in range(20):
        bench.record(BAD, profile="ngram")
    before = bench.believed(profile="ngram")
    for seed in range(60):
        assert bench.replay(replayed(0.8, seed))
    after = bench.believed(profile="ngram")
    assert after.alpha == pytest.approx(0.8, abs=0.06) != pytest.approx(before.alpha, abs=0.3)
    assert CellKey("ngram.replay", "code", "low", "acme") in bench.evidence
    total = pooled([replayed(0.8, seed) for seed in range(60)])
    assert after.lengths[2] == pytest.approx(total["tokens:2"] / total["steps:2"], rel=0.05)
    shown = bench.learner.believed("ngram.replay", "code", total, POLICY)
    assert shown.alpha == pytest.approx(after.alpha, abs=0.1)


@pytest.mark.parametrize(
    ("steps", "half_life_s", "now_s"),
    [
        (RequestSteps(4, [4], [5]), 600.0, T0),
        (RequestSteps(4, [-1], [-1]), 600.0, T0),
        (RequestSteps(4, [4, 4], [1]), 600.0, T0),
        (RequestSteps(4, [math.nan], [1]), 600.0, T0),  # type: ignore[list-item]
        (RequestSteps(4, None, None), 600.0, T0),  # type: ignore[arg-type]
        (GOOD, math.nan, T0),
        (GOOD, 0.0, T0),
        (GOOD, 600.0, math.nan),
        (GOOD, 600.0, math.inf),
    ],
)
def test_what_cannot_be_true_counts_nowhere(steps: RequestSteps, half_life_s: float, now_s: float) -> None:
    """It is refused and counted as such."""
    bench = Bench()
    assert not bench.record(steps, half_life_s=half_life_s, now_s=now_s)
    assert len(bench.evidence) == 0
    assert bench.learner.rejected == 1


@pytest.mark.parametrize(
    "change", [{"tokens:2": math.nan}, {"accepted:1": 1e9}, {"steps:1": -1.0}, {"drafted:3": 0.0}]
)
def test_replays_that_cannot_be_true_count_nowhere(change: dict[str, float]) -> None:
    """Nor do empty ones."""
    bench = Bench()
    assert not bench.replay({**replayed(0.5), **change})
    assert not bench.replay({})
    assert len(bench.evidence) == 0
    assert bench.learner.rejected == 2


def test_a_clock_that_steps_back_neither_fades_nor_freezes_anything() -> None:
    """Estimates of a seeming future are made anew, and evidence from it counts as of now."""
    bench = Bench()
    bench.record(now_s=T0)
    assert bench.believed(now_s=T0).own_steps == bench.believed(now_s=T0 - 5000).own_steps == 10
    bench.record(BAD, now_s=T0 - 5000)
    assert bench.believed(now_s=T0 - 5000).evidence_requests < 2


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tenants and settings ask."""
    monkeypatch.setattr("policies.learner._MAX_TASKS", 5)
    monkeypatch.setattr("policies.task_beliefs._MAX_ESTIMATES", 10)
    bench = Bench()
    for number in range(35):
        bench.believed(task=f"task{number}")
        bench.believed(tenant=f"tenant{number}")
    assert len(bench.learner._tasks) <= 5
    assert len(bench.learner._settings) <= 5
    assert sum(len(one._kept) for one in bench.learner._tasks.values()) <= 50


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 4), st.integers(0, 3)), max_size=12))
def test_two_routers_that_merge_believe_what_one_would(outcomes: list[tuple[str, int, int]]) -> None:
    """Outcomes counted by several routers, merged in any order, give the estimate of one stream."""
    one, parts = Bench(), [Bench() for _ in range(4)]
    for tenant, accepted, router in outcomes:
        steps = RequestSteps(4, [4] * 6, [accepted] * 6)
        one.record(steps, tenant=tenant)
        parts[router].record(steps, tenant=tenant)
    merged = MemoryEvidence()
    for part in reversed(parts):
        for key, record in part.evidence.items():
            merged.record({key: CellDelta(HALF_LIFE_S, record.counters, record.lifetime)}, T0)
    both = Bench(merged).believed(tenant="a"), one.believed(tenant="a")
    assert both[0].lengths == pytest.approx(both[1].lengths)
    assert both[0].deviations == pytest.approx(both[1].deviations)
