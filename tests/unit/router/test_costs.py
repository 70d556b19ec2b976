"""A pool's step time from its replicas' reports, however many there are and how often they are heard."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fakes import NGRAM, T0, FakePool, Harness
from step_reports import PLAIN, status

from policies.cost import (
    Calibrated,
    CalibrationError,
    StepLoad,
    StepRecorder,
    StepTime,
    parse_calibration,
)
from policies.forecast import Forecaster
from policies.inflight import PLAIN as ONE_MORE
from router.admin import Admin
from router.costs import PoolCost, read_calibration
from router.pools import Pools, PoolState

pytestmark = pytest.mark.unit


def _fly(state: PoolState, more: int) -> None:
    for _ in range(abs(more)):
        (state.flying.add if more > 0 else state.flying.remove)(ONE_MORE)


def plain_s(cost: PoolCost) -> float:
    return cost.step_time.seconds(PLAIN)


def test_before_any_report_there_is_the_profiles_seed() -> None:
    """With half its size as the error."""
    cost = PoolCost(NGRAM)
    assert (cost.step_time, cost.error, cost.steps, cost.source) == (NGRAM.step_cost.seed(), 0.5, 0, "seed")


def test_a_calibration_stands_in_until_there_are_steps() -> None:
    """Then what is measured counts."""
    cost = PoolCost(NGRAM, Calibrated(StepTime(0.04), 0.1, 900))
    assert (cost.step_time, cost.error, cost.source) == (StepTime(0.04), 0.1, "calibration")
    cost.report(status("a", 0.03), T0)
    assert (plain_s(cost), cost.source) == (pytest.approx(0.03, rel=0.02), "measured")


def test_the_steps_behind_a_calibration_make_it_sure() -> None:
    """So that a router that starts from it dares what the one it comes from does."""
    few, many = (PoolCost(NGRAM, Calibrated(StepTime(0.04), 0.1, steps)) for steps in (0, 900))
    assert few.mean_error > 0.1
    assert many.mean_error < 0.03


def test_a_replica_heard_twice_counts_once() -> None:
    """Its newest report has all its steps in it."""
    cost = PoolCost(NGRAM)
    for at_s in (T0, T0 + 1, T0 + 2):
        cost.report(status("a", 0.03, 400), at_s)
    once = PoolCost(NGRAM)
    once.report(status("a", 0.03, 400), T0)
    assert cost.steps == once.steps
    assert cost.step_time == once.step_time


def rehearsal(shape: StepTime, seed_of: int = 1) -> list[float]:
    """Moments of an engine's own short answers on four k, and to a longer prompt."""
    recorder, rng = StepRecorder(NGRAM.step_cost.seed()), Random(seed_of)
    kinds = [StepLoad(1, float(k > 0), k, context=30) for k in (0, 1, 2, 4)]
    kinds += [StepLoad(1, context=280)]
    for step in range(150):
        load = kinds[step % len(kinds)]
        recorder.record(load, shape.seconds(load) * rng.gauss(1, 0.03))
    return recorder.moments.to_list()


ON_ONE = StepLoad(1, 1, 1, context=200)
ON_FOUR = StepLoad(1, 1, 4, context=200)
FOUND = StepTime(0.1, verify=0.005, per_drafted=0.01)
"""Far from the profile's guess that a pass which verifies takes 70 % longer."""


def test_the_proportions_an_engine_found_by_itself_are_the_guess() -> None:
    """On the scale of the profile's guess: how fast it is, traffic shows, which may know of one k alone."""
    cost = PoolCost(NGRAM)
    cost.report(status("a", 0.03, 0, rehearsal=rehearsal(FOUND)), T0)
    assert (cost.source, cost.steps) == ("seed", 0)
    assert plain_s(cost) == pytest.approx(NGRAM.step_cost.seed().seconds(PLAIN), rel=0.01)
    assert cost.step_time.seconds(ON_ONE) / plain_s(cost) == pytest.approx(1.15, rel=0.03)
    recorder = StepRecorder(NGRAM.step_cost.seed())
    for _ in range(500):
        recorder.record(ON_FOUR, 0.0145)
    said = status("a", 0.03, 0, rehearsal=rehearsal(FOUND)) | {"step_moments": recorder.moments.to_list()}
    cost.report(said, T0 + 1)
    assert cost.step_time.seconds(ON_FOUR) == pytest.approx(0.0145, rel=0.02)
    assert cost.step_time.seconds(ON_ONE) == pytest.approx(0.0115, rel=0.03)
    guessing = PoolCost(NGRAM)
    guessing.report(said | {"rehearsal": []}, T0 + 1)
    assert guessing.step_time.seconds(ON_ONE) > 0.0135


def test_a_few_noisy_requests_do_not_price_what_they_never_showed() -> None:
    """Three short requests, each slow in its own way, say nothing of long contexts; the rehearsal does."""
    farthest = []
    for rehearsed in ([], rehearsal(FOUND)):
        worst = 1.0
        for seed_of in range(20):
            recorder, rng = StepRecorder(NGRAM.step_cost.seed()), Random(seed_of)
            for _ in range(3):
                prompt, slower = rng.randint(20, 45), rng.lognormvariate(0, 0.3)
                recorder.record(StepLoad(prefill=prompt), 0.05 * slower)
                for token in range(40):
                    load = StepLoad(1, context=prompt + token)
                    recorder.record(load, 0.05 * slower * rng.lognormvariate(0, 0.2))
            cost = PoolCost(NGRAM)
            cost.report(
                {"replica": "a", "step_moments": recorder.moments.to_list(), "rehearsal": rehearsed}, T0
            )
            long, short = (cost.step_time.seconds(StepLoad(1, context=c)) for c in (1000, 50))
            worst = max(worst, long / short)
        farthest.append(worst)
    assert farthest[0] > 3, "else there is nothing to mend"
    assert farthest[1] < 2


def test_what_was_rehearsed_keeps_the_pace_of_traffic() -> None:
    """Of an engine that is busy elsewhere everything takes longer, also what traffic does not show."""
    cost = PoolCost(NGRAM)
    recorder, rng = StepRecorder(NGRAM.step_cost.seed()), Random(1)
    for _ in range(400):
        recorder.record(PLAIN, 3 * FOUND.seconds(PLAIN) * rng.gauss(1, 0.05))
    said = {"replica": "a", "step_moments": recorder.moments.to_list(), "rehearsal": rehearsal(FOUND)}
    cost.report(said, T0)
    for load in (PLAIN, ON_ONE, ON_FOUR):
        assert cost.step_time.seconds(load) == pytest.approx(3 * FOUND.seconds(load), rel=0.05)
    assert cost.steps == pytest.approx(recorder.moments.steps)


def test_a_calibration_outranks_what_an_engine_found_by_itself() -> None:
    """It took minutes, at all loads."""
    calibrated = Calibrated(StepTime(0.04, wide=0.02), 0.1, 900)
    cost = PoolCost(NGRAM, calibrated)
    cost.report(status("a", 0.03, 0, rehearsal=rehearsal(FOUND)), T0)
    assert cost.step_time == calibrated.step_time


def test_rehearsals_of_several_replicas_are_added_up_and_bounded() -> None:
    """Those of replicas that are gone among them, the last eight."""
    cost = PoolCost(NGRAM)
    odd = StepTime(0.1, verify=0.3)
    cost.report(status("odd", 0.03, 0, rehearsal=rehearsal(odd)), T0)
    for replica in range(7):
        cost.report(status(f"r{replica}", 0.03, 0, rehearsal=rehearsal(FOUND, replica)), T0)
    mixed = cost.step_time.seconds(ON_ONE)
    cost.report(status("r8", 0.03, 0, rehearsal=rehearsal(FOUND, 8)), T0)
    assert cost.step_time.seconds(ON_ONE) < mixed
    assert cost.step_time.seconds(ON_ONE) / plain_s(cost) == pytest.approx(1.15, rel=0.03)


def test_replicas_are_added_up() -> None:
    """Two that differ come to something between them, with the steps of both."""
    cost = PoolCost(NGRAM)
    cost.report(status("a", 0.03), T0)
    first = cost.steps
    cost.report(status("b", 0.04), T0)
    assert cost.steps == pytest.approx(2 * first)
    assert 0.03 < plain_s(cost) < 0.04


def test_a_replica_that_is_gone_is_forgotten_once_others_know() -> None:
    """After a minute of silence, but not before its successor has steps of its own."""
    cost = PoolCost(NGRAM)
    cost.report(status("old", 0.03), T0)
    cost.report(status("new", 0.06, 0), T0 + 120)
    assert plain_s(cost) == pytest.approx(0.03, rel=0.02)
    cost.report(status("new", 0.06, 500), T0 + 121)
    assert plain_s(cost) == pytest.approx(0.06, rel=0.02)


@pytest.mark.parametrize(
    "moments", [None, "many", [1.0], [float("nan")] * 46, {"a": 1}, [-1.0] * 46, [[1.0]] * 46]
)
def test_reports_that_cannot_be_true_change_nothing(moments: Any, caplog: pytest.LogCaptureFixture) -> None:
    """They are counted, and logged once."""
    cost = PoolCost(NGRAM)
    cost.report(status("a", 0.03), T0)
    before = cost.step_time
    for _ in range(3):
        cost.report({"replica": "b", "step_moments": moments}, T0)
    cost.report(status("b", 0.3) | {"rehearsal": moments or "none"}, T0)
    assert (cost.step_time, cost.refused) == (before, 4)
    assert caplog.text.count("ignored what a replica says") == 1


def test_refused_passes_are_shown_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Those a replica's recorder refused count by its newest report."""
    cost = PoolCost(NGRAM)
    for refused in (0, 3, 7):
        cost.report(status("a", 0.03) | {"refused_steps": refused}, T0)
    assert cost.refused == 7
    assert caplog.text.count("cannot be true") == 1


def test_a_status_without_steps_says_nothing_of_them() -> None:
    """Neither a report nor nonsense."""
    cost = PoolCost(NGRAM)
    cost.report({"running": 3}, T0)
    assert (cost.source, cost.refused) == ("seed", 0)


# -- other routers' load


async def polled(profile_replicas: int, *reports: tuple[str, int, int]) -> tuple[Any, Any]:
    """The pool's state after polls: (replica, its running requests, further ones of this router's)."""
    pool, now = FakePool(), [0.0]
    profile = NGRAM.model_copy(update={"replicas": profile_replicas})
    pools = Pools([(profile, pool)], clock=lambda: now[0])
    (state,) = pools
    for replica, running, own in reports:

        async def answer(replica: str = replica, running: int = running) -> dict[str, Any]:
            return {"replica": replica, "running": running}

        pool.status = answer  # type: ignore[method-assign]
        _fly(state, own)
        await pools.poll()
        now[0] += 1.0
    return state, now


async def test_what_others_have_in_flight_is_what_is_reported_less_ones_own() -> None:
    """As of the report: requests that were sent since are not taken off."""
    state, now = await polled(1, ("a", 5, 2))
    _fly(state, 9 - state.in_flight)
    assert state.others_in_flight(now[0]) == 3


async def test_the_replicas_that_were_heard_stand_for_all() -> None:
    """Two of four, by their mean; this router's own are of the whole pool."""
    state, now = await polled(4, ("a", 3, 4), ("b", 5, 2))
    assert state.others_in_flight(now[0]) == 4 * 4 - 5


async def test_old_reports_say_nothing() -> None:
    """Some seconds later, and before the first one, and when one's own are more than were reported."""
    state, now = await polled(1, ("a", 5, 2))
    assert state.others_in_flight(now[0] + 10) == 0
    assert (await polled(1))[0].others_in_flight(0.0) == 0
    state, now = await polled(1, ("a", 1, 3))
    assert state.others_in_flight(now[0]) == 0


async def test_a_status_shows_no_moments() -> None:
    """Operators read it; the numbers stand in the cost report."""
    pool = FakePool()
    pools = Pools([(NGRAM, pool)], clock=lambda: T0)

    async def answer() -> dict[str, Any]:
        return status("a", 0.03)

    pool.status = answer  # type: ignore[method-assign]
    await pools.poll()
    (state,) = pools
    assert state.status == {"replica": "a", "running": 0, "refused_steps": 0}
    assert state.cost.source == "measured"


# -- what operators see


async def test_the_cost_report_is_a_calibration_file(tmp_path: Path) -> None:
    """Saved as it is, it reads as the step times it shows; with how predictions fared beside them."""
    harness = await Harness(tmp_path).ready()
    for state in harness.pools:
        state.cost.report(status("a", 0.03), T0)
    await harness.pools.poll()
    predictions = harness.expectations.predictions
    predictions.observe("ngram", predicted_s=1.2, measured_s=1.0, now_s=T0)
    admin = Admin(
        snapshot=harness.buffer,
        learning=harness.learning,
        pools=harness.pools,
        policies=harness.policies,
        predictions=predictions,
        forecaster=Forecaster(),
        model="m",
        clock=harness.clock,
    )
    shown = admin.cost()
    assert shown["profiles"]["ngram"]["predicted_over_measured"] == pytest.approx(1.2)
    assert shown["profiles"]["vanilla"]["predicted_over_measured"] is None
    assert shown["profiles"]["ngram"]["source"] == "measured"
    assert shown["profiles"]["ngram"]["believed_over_measured"] == 1.0
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps(shown))
    read = read_calibration(file)
    for state in harness.pools:
        assert read[state.profile.name].step_time == pytest.approx(state.cost.step_time, abs=1e-9)
    assert set(parse_calibration(json.dumps(shown), "x")) == {"vanilla", "ngram"}


def test_a_calibration_that_is_not_there_is_told(tmp_path: Path) -> None:
    """In one line, with the path."""
    with pytest.raises(CalibrationError, match=r"^calibration: cannot read .*none.json: No such file"):
        read_calibration(tmp_path / "none.json")
