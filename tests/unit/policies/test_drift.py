"""Drift: rare alarms on what stands still, quick ones on what moved, and who moved told apart."""

import math
from collections.abc import Iterator, Sequence
from random import Random
from statistics import median

import pytest
from drafting import simulated_request
from hypothesis import given
from hypothesis import strategies as st

from policies.acceptance import Estimate
from policies.cells import TemperatureBucket
from policies.drift import FORGET_FACTOR, KEPT_REQUESTS, DriftEvent, DriftMonitor, forget_factor
from policies.drift.cusum import Cusum
from policies.drift.detector import READY_REQUESTS, SEED_STEPS
from policies.evidence import RequestSteps

pytestmark = pytest.mark.unit

T0 = 1_700_000_000.0
NOTHING_KNOWN = Estimate((0.6,), (1.0,), (0.1,), 4)
BUCKETS: tuple[TemperatureBucket, ...] = ("low", "mid", "high")
COOLING = {"low": 0.0, "mid": 0.06, "high": 0.15}
"""How much a temperature takes off alpha."""


class Traffic:
    """Requests of one router: acceptance varies between requests, so do length, k and temperature."""

    def __init__(
        self, seed: int, *, concentration: float = 12.0, monitor: DriftMonitor | None = None
    ) -> None:
        self.rng = Random(seed)
        self.concentration = concentration
        self.monitor = monitor or DriftMonitor()
        self.now_s = T0
        self.varied = True

    def steps(self, mean: float) -> RequestSteps:
        alpha = self.rng.betavariate(mean * self.concentration, (1 - mean) * self.concentration)
        tokens = max(2, int(self.rng.lognormvariate(math.log(60), 0.6)))
        k = self.rng.choice((1, 2, 4, 8)) if self.varied else 4
        return simulated_request(self.rng, (alpha,), (1.0,), k=k, tokens=tokens)

    def send(self, mean: float, task: str = "code", profile: str = "draft") -> tuple[DriftEvent, ...]:
        self.now_s += 1.0
        temperature = self.rng.choice(BUCKETS) if self.varied else "low"
        arrived = self.monitor.arrived(task, self.now_s)
        moved = self.monitor.observe(
            profile,
            task,
            self.steps(mean - COOLING[temperature]),
            NOTHING_KNOWN,
            self.now_s,
            temperature=temperature,
        )
        return *arrived, *moved

    def requests_until(self, kind: str, mean: float, limit: int = 200) -> int:
        for number in range(1, limit):
            if any(event.kind == kind for event in self.send(mean)):
                return number
        return limit

    def stand(self, mean: float, requests: int) -> list[DriftEvent]:
        return [event for _ in range(requests) for event in self.send(mean)]


def test_what_stands_still_raises_hardly_an_alarm() -> None:
    """Over many streams of varied requests there are more than 5,000 requests for every alarm."""
    requests, alarms = 0, 0
    for seed, mean in enumerate((0.45, 0.6, 0.75, 0.85) * 3):
        alarms += len(Traffic(seed).stand(mean, 2500))
        requests += 2500
    assert alarms <= requests / 5000


def test_a_fall_and_the_recovery_are_both_found_within_some_fifteen_requests() -> None:
    """0.75 -> 0.40 and back: medians of 15 at most, and nine of ten within 25, whatever k and temperature."""
    falls, recoveries = [], []
    for seed in range(60):
        traffic = Traffic(seed)
        traffic.stand(0.75, 100)
        falls.append(traffic.requests_until("task_fell", 0.40))
        traffic.stand(0.40, 40)
        recoveries.append(traffic.requests_until("task_rose", 0.75))
    for delays in (falls, recoveries):
        assert median(delays) <= 15
        assert sorted(delays)[54] <= 25


def test_an_event_says_from_where_to_where() -> None:
    """The figures are effective acceptances before and since the change, not averages over both."""
    traffic = Traffic(3)
    traffic.varied = False
    traffic.stand(0.75, 300)
    events = traffic.stand(0.40, 40)
    assert [(event.kind, event.profile, event.task) for event in events] == [("task_fell", "draft", "code")]
    assert events[0].before == pytest.approx(0.75, abs=0.05)
    assert events[0].after == pytest.approx(0.40, abs=0.12)
    assert 5 <= events[0].requests <= 40


def test_a_change_of_temperatures_alone_is_no_drift() -> None:
    """Every temperature is compared with its own past."""
    monitor, traffic = DriftMonitor(), Traffic(5)
    events: list[DriftEvent] = []
    for number in range(800):
        temperature: TemperatureBucket = "low" if number % 8 else "high"
        if number >= 400:
            temperature = "high" if number % 8 else "low"
        steps = traffic.steps(0.8 if temperature == "low" else 0.5)
        events += monitor.observe("draft", "code", steps, NOTHING_KNOWN, T0 + number, temperature=temperature)
    assert events == []


def test_short_answers_are_no_fall() -> None:
    """Answers cut off after a few tokens accept as much per chance as long ones."""
    rng, monitor = Random(7), DriftMonitor()
    events: list[DriftEvent] = []
    for number in range(1500):
        alpha = rng.betavariate(9, 3)
        steps = simulated_request(rng, (alpha,), (1.0,), k=8, tokens=200 if number < 500 else 5)
        events += monitor.observe("draft", "code", steps, NOTHING_KNOWN, T0 + number)
    assert events == []


def test_before_there_is_a_reference_there_is_no_alarm() -> None:
    """The first requests may be as different as they like."""
    traffic = Traffic(1)
    for number in range(int(READY_REQUESTS)):
        assert traffic.send(0.9 if number % 2 else 0.3) == ()


def test_evidence_of_the_store_is_a_reference_from_the_first_request_on() -> None:
    """A router that starts after the drafter broke notices; on a thin estimate it does not."""
    for own_steps, expected in ((SEED_STEPS, ["task_fell"]), (SEED_STEPS / 2, [])):
        known = Estimate((0.75,) * 8, (1.0,) * 8, (0.01,) * 8, 4, evidence_steps=1e4, own_steps=own_steps)
        traffic, monitor = Traffic(11), DriftMonitor()
        events = [
            event
            for number in range(30)
            for event in monitor.observe("draft", "code", traffic.steps(0.35), known, T0 + number)
        ]
        assert [event.kind for event in events] == expected


def many(traffic: Traffic, means: dict[str, float], weights: Sequence[float], count: int) -> list[DriftEvent]:
    names = list(means)
    return [
        event
        for name in traffic.rng.choices(names, weights, k=count)
        for event in traffic.send(means[name], name)
    ]


MEANS = {"code": 0.8, "qa": 0.5, "math": 0.7, "chat": 0.55}


def test_when_every_task_falls_the_drafter_rots() -> None:
    """Once, with the tasks that fell; every task's own event comes too, and the traffic is not blamed."""
    traffic = Traffic(21)
    assert many(traffic, MEANS, (1, 1, 1, 1), 800) == []
    events = many(traffic, {name: mean - 0.35 for name, mean in MEANS.items()}, (1, 1, 1, 1), 300)
    kinds = [event.kind for event in events]
    assert kinds.count("drafter_rot") == 1
    assert kinds.count("task_fell") == 4
    assert "traffic_shift" not in kinds
    rot = next(event for event in events if event.kind == "drafter_rot")
    assert len(rot.fallen) >= 3
    assert rot.task is None
    assert rot.before - rot.after > 0.2


def test_one_fallen_task_is_neither_rot_nor_a_shift() -> None:
    """Although it moves the mean of all traffic."""
    traffic = Traffic(22)
    many(traffic, MEANS, (3, 1, 1, 1), 800)
    events = many(traffic, MEANS | {"code": 0.35}, (3, 1, 1, 1), 400)
    assert [(event.kind, event.task) for event in events] == [("task_fell", "code")]


def test_falls_far_apart_are_not_rot() -> None:
    """Three tasks that fall on three days are three events."""
    traffic = Traffic(23)
    means = dict(MEANS)
    many(traffic, means, (1, 1, 1, 1), 800)
    kinds = []
    for name in ("code", "math", "chat"):
        means[name] -= 0.35
        kinds += [event.kind for event in many(traffic, means, (1, 1, 1, 1), 200)]
        traffic.now_s += 86_400
    assert kinds == ["task_fell"] * 3


def test_another_mix_is_a_shift_told_once_and_its_end_is_another() -> None:
    """More of the tasks that accept little: overall acceptance falls, no task does."""
    traffic = Traffic(24)
    assert many(traffic, MEANS, (6, 1, 2, 1), 1000) == []
    shifted = many(traffic, MEANS, (1, 6, 1, 2), 1500)
    assert [(event.kind, event.task) for event in shifted] == [("traffic_shift", None)]
    event = shifted[0]
    assert event.before - event.after > 0.05
    assert event.gained[0].task == "qa"
    assert event.gained[0].after > event.gained[0].before + 0.2
    back = many(traffic, MEANS, (6, 1, 2, 1), 1000)
    assert [event.kind for event in back] == ["traffic_shift"]
    assert back[0].after > back[0].before


def test_another_mix_of_tasks_that_are_alike_is_nothing() -> None:
    """Who does not change what is accepted overall concerns nobody."""
    traffic = Traffic(25)
    alike = {"code": 0.7, "sql": 0.71, "math": 0.69}
    assert many(traffic, alike, (8, 1, 1), 600) == []
    assert many(traffic, alike, (1, 8, 1), 1500) == []


def test_conversations_and_bursts_are_no_shift() -> None:
    """Twenty requests of one task in a row are part of a mix of such runs."""
    traffic = Traffic(26)
    kinds = [
        event.kind
        for _ in range(150)
        for name in traffic.rng.choices(list(MEANS))
        for _ in range(20)
        for event in traffic.send(MEANS[name], name)
    ]
    assert kinds.count("traffic_shift") <= 1


def test_requests_routed_elsewhere_still_count_as_traffic() -> None:
    """A router that takes a task away from a profile does not see its own decision as a shift."""
    traffic = Traffic(27)
    many(traffic, MEANS, (1, 1, 1, 1), 800)
    for name in traffic.rng.choices(list(MEANS), k=1500):
        if name == "qa":
            assert traffic.monitor.arrived(name, traffic.now_s) == ()
        else:
            assert traffic.send(MEANS[name], name) == ()


def test_a_cut_by_another_router_settles_what_was_gathered_here() -> None:
    """After it the fall raises no alarm here, and still counts toward the drafter's rot."""
    traffic = Traffic(28)
    many(traffic, MEANS, (1, 1, 1, 1), 800)
    fallen = {name: mean - 0.35 for name, mean in MEANS.items()}
    for name in ("code", "math", "chat"):
        for _ in range(6):
            assert traffic.send(fallen[name], name) == ()
    events = [
        event
        for name in ("code", "math", "chat")
        for event in traffic.monitor.restart("draft", name, traffic.now_s)
    ]
    assert [event.kind for event in events] == ["drafter_rot"]
    after = [
        event
        for _ in range(40)
        for name in ("code", "math", "chat")
        for event in traffic.send(fallen[name], name)
    ]
    assert after == []
    assert traffic.monitor.restart("draft", "unknown", T0) == ()


def nonsense() -> Iterator[tuple[RequestSteps, float]]:
    good = RequestSteps(4, (4, 4), (2, 1))
    yield RequestSteps(4, (4, 4), (2, -1)), T0
    yield RequestSteps(4, (4, 4), (2, 5)), T0
    yield RequestSteps(4, (4,), (2, 1)), T0
    yield RequestSteps(4, (4, math.nan), (2, math.nan)), T0  # type: ignore[arg-type]
    yield RequestSteps(-1, (4, 4), (2, 1)), T0
    yield RequestSteps(0, (0, 0), (0, 0)), T0
    yield RequestSteps(4, (), ()), T0
    yield good, math.nan
    yield good, math.inf


def test_nonsense_is_ignored() -> None:
    """Impossible counts and times change nothing: the same requests around them raise the same events."""
    plain, disturbed = Traffic(31), Traffic(31)
    odd = list(nonsense())
    found: list[list[DriftEvent]] = [[], []]
    for number in range(400):
        mean = 0.75 if number < 300 else 0.4
        found[0] += plain.send(mean)
        steps, now_s = odd[number % len(odd)]
        assert disturbed.monitor.observe("draft", "code", steps, NOTHING_KNOWN, now_s) == ()
        assert (
            disturbed.monitor.observe_counts("draft", "code", {"reached:1": math.nan}, NOTHING_KNOWN, T0)
            == ()
        )
        found[1] += disturbed.send(mean)
    assert disturbed.monitor.arrived("code", math.nan) == ()
    assert found[0] == found[1] != []


def test_a_clock_that_steps_back_neither_raises_nor_hides_an_alarm() -> None:
    """Detection counts requests, not seconds."""
    traffic = Traffic(32)
    traffic.stand(0.75, 200)
    traffic.now_s -= 86_400
    assert traffic.stand(0.75, 100) == []
    assert traffic.requests_until("task_fell", 0.40) < 40


@given(st.lists(st.floats(), max_size=60))
def test_the_sums_stay_within_their_bounds(values: list[float]) -> None:
    """Whatever comes in, sums are finite, not negative, and at most one clipped value past the threshold."""
    cusum = Cusum(allowance=0.6, threshold=8.5, clip=1.5)
    for value in values:
        alarm = cusum.add(value)
        assert min(cusum.up, cusum.down) >= 0.0
        assert max(cusum.up, cusum.down) <= 8.5 + 0.9
        assert (alarm is not None) == (max(cusum.up, cusum.down) > 8.5)
        assert cusum.run("rose") <= len(values)
        if alarm is not None:
            cusum.restart()


@given(st.lists(st.integers(-3, 3), max_size=40))
def test_both_directions_are_alike(values: list[int]) -> None:
    """The mirrored stream raises the mirrored alarms."""
    up, down = Cusum(0.5, 3.0, 2.0), Cusum(0.5, 3.0, 2.0)
    mirrored = {"rose": "fell", "fell": "rose", None: None}
    for value in values:
        assert mirrored[up.add(value)] == down.add(-value)
        assert (up.up, up.down) == (down.down, down.up)


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 4), st.lists(st.integers(0, 8), max_size=12)), max_size=60
    )
)
def test_any_possible_requests_are_taken_in(requests: list[tuple[int, int, list[int]]]) -> None:
    """Nothing raises, whatever the steps; figures are probabilities; memory is bounded by tasks."""
    monitor = DriftMonitor(max_tasks=3)
    for number, (k, task, accepted) in enumerate(requests):
        kept = [min(k, value) for value in accepted]
        steps = RequestSteps(k, [k] * len(kept), kept)
        for event in monitor.observe("draft", f"t{task}", steps, NOTHING_KNOWN, T0 + number):
            assert 0.0 <= event.before <= 1.0
            assert 0.0 <= event.after <= 1.0
    assert all(len(state.watched) <= 3 for state in monitor._profiles.values())


@given(st.floats(0, 1e9))
def test_what_is_kept_of_old_evidence_is_little(requests: float) -> None:
    """At most a tenth, and at most two requests' worth."""
    factor = forget_factor(requests)
    assert 0.0 < factor <= FORGET_FACTOR
    assert factor * requests <= KEPT_REQUESTS * 1.000001
