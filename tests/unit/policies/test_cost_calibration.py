"""The calibration file: what is written is read again, and what cannot be used is told in one line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.cost import (
    CalibrationError,
    StepTime,
    calibrated_profile,
    calibration,
    parse_acceptance,
    parse_calibration,
    parse_routes,
)

pytestmark = pytest.mark.unit

STEP_TIME = StepTime(0.0215, 0.0, 0.0142, 0.0, 0.0002, 0.0, 2e-6, 0.0008, 0.0001, 0.0, 0.0003)


CELL = {"profile": "ngram", "task": "code", "temperature": "low", "tenant": "acme", "counters": {"steps": 9}}


def text(**changes: Any) -> str:
    profile = calibrated_profile(STEP_TIME, 0.06, 3000.0) | changes.pop("profile", {})
    return json.dumps(calibration({"ngram": profile}, model="m", machine="two cores") | changes)


@given(st.builds(StepTime, st.floats(1e-6, 1), *(st.floats(0, 1) for _ in StepTime._fields[1:])))
def test_a_written_calibration_reads_the_same(step_time: StepTime) -> None:
    """To a nanosecond."""
    written = calibration({"ngram": calibrated_profile(step_time, 0.05, 100)}, model="m", machine="x")
    (read,) = parse_calibration(json.dumps(written), "file").values()
    assert read.step_time == pytest.approx(step_time, abs=1e-9)
    assert (read.relative_error, read.steps) == (0.05, 100)


def test_coefficients_that_are_left_out_are_zero() -> None:
    """Only the base must be there."""
    read = parse_calibration(text(profile={"step_time_ms": {"base": 20.0}}), "file")
    assert read["ngram"].step_time == StepTime(0.02)


def test_a_fit_without_a_constant_part_is_read_again() -> None:
    """Passes that take their time in proportion to what they decode come to that."""
    step_time = StepTime(0.0, per_request=0.006)
    written = calibration({"ngram": calibrated_profile(step_time, 0.05, 100)}, model="m", machine="")
    assert parse_calibration(json.dumps(written), "file")["ngram"].step_time == step_time


def test_routes_to_start_with_are_read_and_may_be_left_out() -> None:
    """Files of earlier versions have none."""
    assert parse_routes(text(), "file") == {}
    routes = {"code": "speculative", "creative": "vanilla"}
    assert parse_routes(text(routes=routes), "file") == routes


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "c.json: not JSON: "),
        ("[]", "c.json: "),
        (
            text(format="specroute/calibration/v2"),
            "c.json: format: must be 'specroute/calibration/v1'; write",
        ),
        (text(routes={"code": "fast"}), "c.json: routes.code: Input should be 'speculative' or 'vanilla'"),
        (text(routes=["code"]), "c.json: routes: "),
        (text(profiels={}), "c.json: profiels: unknown key; did you mean 'profiles'? allowed: format,"),
        (text(profile={"step": 1}), "c.json: profiles.ngram.step: unknown key; did you mean 'steps'?"),
        (text(profile={"step_time_ms": {"base": 1, "bas": 2}}), "unknown key; did you mean 'base'?"),
        (text(profile={"step_time_ms": {"base": -1}}), "c.json: profiles.ngram.step_time_ms.base: "),
        (
            text(profile={"step_time_ms": {"base": 0}}),
            "ngram.step_time_ms: a plain step of one request takes",
        ),
        (text(profile={"step_time_ms": {}}), "c.json: profiles.ngram.step_time_ms.base: Field required"),
        (text(profile={"relative_error": "much"}), "c.json: profiles.ngram.relative_error: "),
        (
            text(acceptance=[CELL | {"tsk": "x"}]),
            "c.json: acceptance[0].tsk: unknown key; did you mean 'task'?",
        ),
        (
            text(acceptance=[CELL | {"counters": {"steps": -1}}]),
            "c.json: acceptance[0].counters: no requests can",
        ),
        (text(profile={"break_even": [{"kk": 1}]}), "c.json: profiles.ngram.break_even[0].k: "),
        (text(profile={"step_time_ms": {"base": 1e9}}), "c.json: profiles.ngram.step_time_ms.base: "),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(content: str, told: str) -> None:
    """With the file, the place and what to do."""
    with pytest.raises(CalibrationError) as caught:
        parse_calibration(content, "c.json")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_calibrate_adds_is_read_beside_the_step_times() -> None:
    """The surface is for people, with or without its errors; the counters are told by cell."""
    point = {"k": 4, "batch": 1, "context": 512, "alpha": None}
    newer = point | {"half_width": 0.02, "measured": True}
    whole = text(profile={"break_even": [point, newer]}, acceptance=[CELL, CELL | {"replayed": True}])
    assert parse_calibration(whole, "file") == parse_calibration(text(), "file")
    plain, replayed = parse_acceptance(whole, "file")
    assert (plain.tenant, plain.is_of_replays, replayed) == ("acme", False, plain.of_replays())
    assert parse_acceptance(text(), "file") == {}
