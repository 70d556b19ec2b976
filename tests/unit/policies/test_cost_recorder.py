"""Steps as they happen: what bends the fit, what does not, and what is forgotten."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.cost import StepLoad, StepRecorder, StepShape, StepTime, fit, seed

pytestmark = pytest.mark.unit

SEED = seed(StepShape(), 0.1)
TRUTH = StepTime(0.02, 0.0005, 0.008, 0.004, 0.0002, 0.0, 2e-6, 0.0008, 0.0001)
PLAIN = StepLoad(requests=1, context=300)
VERIFYING = StepLoad(requests=1, verifying=1, drafted=4, context=300)
PROMPT = StepLoad(prefill=200)


def mixed(rng: Random) -> StepLoad:
    """A pass of an engine of some load."""
    requests = rng.randint(1, 4)
    drafted = rng.choice([0, rng.randint(1, 8)])
    prefill = rng.choice([0] * 20 + [rng.randint(10, 400)])
    return StepLoad(requests, float(drafted > 0), drafted, 0, requests * rng.uniform(50, 1500), prefill)


def feed(
    recorder: StepRecorder, truth: StepTime, count: int, *, seed_of: int = 1, hiccups: float = 0.0
) -> None:
    """Record steps with 5 % noise, some of which take ten times as long."""
    rng = Random(seed_of)
    for _ in range(count):
        load = mixed(rng)
        hiccup = 10 if rng.random() < hiccups else 1
        recorder.record(load, truth.seconds(load) * rng.gauss(1, 0.05) * hiccup)


def found(recorder: StepRecorder) -> StepTime:
    return fit(recorder.moments, SEED).step_time


@pytest.mark.parametrize("hiccups", [0.0, 0.01, 0.05])
def test_hiccups_of_the_machine_do_not_bend_the_fit(hiccups: float) -> None:
    """Steps of ten times their length, up to one in twenty, move no prediction by more than a few percent."""
    recorder = StepRecorder(SEED)
    feed(recorder, TRUTH, 3000, hiccups=hiccups)
    for load in (PLAIN, VERIFYING, PROMPT):
        assert found(recorder).seconds(load) == pytest.approx(TRUTH.seconds(load), rel=0.03 + 2 * hiccups)


def test_one_hiccup_moves_nothing() -> None:
    """A single step of ten times its length: under half a percent, wherever it falls."""
    for at in (0, 40, 500):
        recorders = [StepRecorder(SEED), StepRecorder(SEED)]
        rng = Random(4)
        for step in range(1000):
            load = mixed(rng)
            seconds = TRUTH.seconds(load) * rng.gauss(1, 0.05)
            recorders[0].record(load, seconds)
            recorders[1].record(load, seconds * (10 if step == at else 1))
        clean, bent = (found(recorder).seconds(PLAIN) for recorder in recorders)
        assert bent == pytest.approx(clean, rel=0.005)


@pytest.mark.parametrize("factor", [3.0, 1.5, 0.4])
def test_the_fit_follows_a_change_of_the_machine(factor: float) -> None:
    """After thousands of steps on one machine, a thousand on another one are believed."""
    recorder = StepRecorder(SEED)
    feed(recorder, TRUTH, 4000)
    feed(recorder, TRUTH.times(factor), 1000, seed_of=2)
    for load in (PLAIN, VERIFYING):
        assert found(recorder).seconds(load) == pytest.approx(factor * TRUTH.seconds(load), rel=0.1)


def test_old_steps_fade_by_half_in_a_half_life() -> None:
    """Of many steps of one kind, a half-life's divided by ln 2 count."""
    recorder = StepRecorder(SEED, half_life_steps=100)
    for _ in range(2000):
        recorder.record(PLAIN, 0.02)
    assert recorder.moments.steps == pytest.approx(100 / math.log(2), rel=0.01)


def test_plain_steps_do_not_take_away_what_verifying_ones_taught() -> None:
    """After a half-life of plain steps alone, verification costs what it did, by most of its evidence."""
    recorder = StepRecorder(SEED)
    feed(recorder, TRUTH, 1000)
    before = found(recorder)
    for _ in range(2000):
        recorder.record(PLAIN, TRUTH.seconds(PLAIN))
    after = found(recorder)
    assert after.seconds(VERIFYING) == pytest.approx(before.seconds(VERIFYING), rel=0.02)


def test_the_first_steps_wait_for_company() -> None:
    """Below 32 steps nothing is known; then all of them are."""
    recorder = StepRecorder(SEED)
    for _ in range(31):
        recorder.record(PLAIN, 0.02)
    assert recorder.moments.steps == 0
    recorder.record(PLAIN, 0.02)
    assert recorder.moments.steps == pytest.approx(32, rel=0.01)
    assert found(recorder).seconds(PLAIN) == pytest.approx(0.02, rel=0.02)


def test_reading_does_not_change_what_is_learned() -> None:
    """Asked after every step or never: the same predictions within a percent."""
    asked, left_alone = StepRecorder(SEED), StepRecorder(SEED)
    rng = Random(9)
    for _ in range(500):
        load = mixed(rng)
        seconds = TRUTH.seconds(load) * rng.gauss(1, 0.05)
        for recorder in (asked, left_alone):
            recorder.record(load, seconds)
        _ = asked.moments
    assert found(asked).seconds(VERIFYING) == pytest.approx(found(left_alone).seconds(VERIFYING), rel=0.01)
    assert asked.moments.steps == pytest.approx(left_alone.moments.steps)


def test_a_cleared_recorder_knows_nothing() -> None:
    """As before the first step."""
    recorder = StepRecorder(SEED)
    feed(recorder, TRUTH, 100)
    recorder.clear()
    assert recorder.moments.steps == 0


NEVER_MEASURED = {"reading", "chunk"}

nonsense = st.one_of(
    st.tuples(st.just(PLAIN), st.sampled_from([0.0, -1.0, math.nan, math.inf, -math.inf, 1e4])),
    st.tuples(
        st.builds(
            lambda name, value: PLAIN._replace(**{name: value}),
            st.sampled_from([name for name in StepLoad._fields if name not in NEVER_MEASURED]),
            st.sampled_from([-1.0, math.nan, math.inf, 1e12]),
        ),
        st.just(0.02),
    ),
    st.tuples(
        st.sampled_from([StepLoad(), StepLoad(context=5), StepLoad(1, 0, 3), StepLoad(1, 2, 3)]),
        st.just(0.02),
    ),
)


@given(st.lists(nonsense, min_size=1, max_size=5))
def test_nonsense_is_refused_and_counted(records: list[tuple[StepLoad, float]]) -> None:
    """Impossible records among good ones: each is counted, none moves the fit."""
    clean, poisoned = StepRecorder(SEED), StepRecorder(SEED)
    for recorder in (clean, poisoned):
        for step in range(40):
            recorder.record(PLAIN, 0.02)
            if recorder is poisoned and step < len(records):
                recorder.record(*records[step])
    assert found(poisoned).seconds(PLAIN) == pytest.approx(found(clean).seconds(PLAIN), rel=0.001)
    assert poisoned.refused == len(records)
    assert clean.refused == 0


def test_a_fit_is_shared_by_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folding and fitting are what recording costs, and are done for dozens of steps at once."""
    recorder, fits = StepRecorder(SEED), 0
    feed(recorder, TRUTH, 100)

    def counted(*args: Any) -> Any:
        nonlocal fits
        fits += 1
        return fit(*args)

    monkeypatch.setattr("policies.cost.recorder.fit", counted)
    for _ in range(3200):
        recorder.record(VERIFYING, 0.03)
    assert 0 < fits <= 3200 / 25


def test_passes_apart_teach_nothing() -> None:
    """They are handed over, counted as passes, and not learned from; afterwards all is as before."""
    recorder = StepRecorder(SEED)
    feed(recorder, TRUTH, 200)
    before = found(recorder)
    with recorder.apart() as passes:
        for _ in range(100):
            recorder.record(PLAIN, 1.0)
    assert passes == [(PLAIN, 1.0)] * 100
    assert found(recorder) == before
    assert recorder.recorded == 300
    recorder.record(PLAIN, 1.0)
    assert found(recorder) != before
