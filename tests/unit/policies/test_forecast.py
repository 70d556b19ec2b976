"""Demand and work by route."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.forecast import LONG_S, SHORT_S, Forecaster

pytestmark = pytest.mark.unit


def steady(
    forecaster: Forecaster, per_s: float, start_s: float, seconds: float, engine_s: float = 2.0
) -> float:
    for number in range(int(per_s * seconds)):
        forecaster.decided("speculative", engine_s, start_s + number / per_s)
    return start_s + seconds


@given(st.floats(0.5, 20.0), st.floats(10.0, 2000.0))
def test_a_steady_rate_is_forecast_as_it_is(per_s: float, seconds: float) -> None:
    """From the first seconds on, although the averages reach back further; work is rate times stay."""
    forecaster = Forecaster()
    now_s = steady(forecaster, per_s, 0.0, seconds)
    found = forecaster.forecast(now_s)["speculative"]
    assert found.requests_per_s == pytest.approx(per_s, rel=0.12, abs=0.12)
    assert found.work == pytest.approx(2.0 * found.requests_per_s)


def test_a_rush_is_followed_up_at_once_and_down_slowly() -> None:
    """Within a minute up; a minute after its end most of it is still expected."""
    forecaster = Forecaster()
    now_s = steady(forecaster, 1.0, 0.0, 3000.0)
    now_s = steady(forecaster, 10.0, now_s, 60.0)
    assert forecaster.forecast(now_s)["speculative"].requests_per_s > 7.0
    now_s = steady(forecaster, 10.0, now_s, 600.0)
    now_s = steady(forecaster, 1.0, now_s, 60.0)
    assert forecaster.forecast(now_s)["speculative"].requests_per_s > 5.0
    now_s = steady(forecaster, 1.0, now_s, 6 * LONG_S)
    assert forecaster.forecast(now_s)["speculative"].requests_per_s == pytest.approx(1.0, rel=0.2)


def test_routes_are_kept_apart_and_unknown_ones_are_not_there() -> None:
    """What was never chosen has no forecast."""
    forecaster = Forecaster()
    assert forecaster.forecast(0.0) == {}
    forecaster.decided("vanilla", 1.0, 0.0)
    assert set(forecaster.forecast(SHORT_S)) == {"vanilla"}


def test_a_clock_that_goes_back_breaks_nothing() -> None:
    """Nothing grows by it."""
    forecaster = Forecaster()
    now_s = steady(forecaster, 1.0, 1000.0, 300.0)
    before = forecaster.forecast(now_s)["speculative"]
    assert forecaster.forecast(now_s - 500.0)["speculative"] == pytest.approx(before)
