"""The ring of samples that trends are drawn from."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.dashboard import history as module
from router.dashboard.history import EVERY_S, KEPT_S, History, SeriesKey

pytestmark = pytest.mark.unit

CODE = SeriesKey("code", None, "ngram")
TRAFFIC = SeriesKey("code", None, None)


def filled(samples: int) -> History:
    """Alpha grows by a thousandth a sample; three requests come in each, two of them with k = 4."""
    history = History()
    for number in range(samples):
        value = (number % 1000) / 1000
        history.sample(number * EVERY_S, {CODE: (value, value - 0.1, value + 0.1), TRAFFIC: (3, 2, 8)})
    return history


def test_a_task_with_interval_and_traffic() -> None:
    """Alpha with both bounds, and the requests of each sample's time, at common times."""
    told = filled(4).task(None, "code", window_s=900, most=100)
    assert told["times"] == [0.0, 10.0, 20.0, 30.0]
    assert told["every_s"] == EVERY_S
    traffic, alpha = sorted(told["series"], key=lambda one: one["profile"] or "")
    assert traffic["values"] == [[3, 3, 3, 3], [2, 2, 2, 2], [8, 8, 8, 8]]
    assert alpha["values"][0] == pytest.approx([0.0, 0.001, 0.002, 0.003], abs=1e-4)
    assert alpha["values"][1][0] == pytest.approx(-0.1)


@given(st.integers(0, 400), st.sampled_from([60.0, 900.0, 3600.0]), st.integers(2, 60))
def test_never_more_points_than_asked_for(samples: int, window_s: float, most: int) -> None:
    """Alpha is averaged and traffic added up; no request is lost or told twice."""
    told = filled(samples).task(None, "code", window_s=window_s, most=most)
    assert len(told["times"]) <= most
    shown = min(samples, math.ceil(window_s / EVERY_S))
    requests = [one for one in told["series"] if one["profile"] is None]
    assert sum(sum(one["values"][0]) for one in requests) == pytest.approx(3 * shown)
    assert all(len(column) == len(told["times"]) for one in told["series"] for column in one["values"])


def test_the_ring_is_bounded() -> None:
    """Six hours and a minute of slack, however long it runs."""
    history = filled(int(KEPT_S / EVERY_S) + 500)
    assert len(history._times) <= KEPT_S / EVERY_S + 60
    told = history.alphas(None, window_s=KEPT_S, most=90)
    assert len(told["times"]) <= 90
    assert told["times"][-1] == (KEPT_S / EVERY_S + 499) * EVERY_S


def test_of_too_many_series_the_silent_ones_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """And of those, tenants before tasks."""
    monkeypatch.setattr(module, "_MOST_SERIES", 3)
    history = History()
    of_acme, of_globex = (SeriesKey("code", name, "ngram") for name in ("acme", "globex"))
    history.sample(0.0, {CODE: (0.5, 0.4, 0.6), of_acme: (0.5, 0.4, 0.6)})
    history.sample(10.0, {TRAFFIC: (1, 1, 4), of_globex: (0.5, 0.4, 0.6)})
    assert len(history) == 3
    assert not history.alphas("acme", window_s=900, most=10)["series"]
    assert history.alphas("globex", window_s=900, most=10)["series"]
    assert history.alphas(None, window_s=900, most=10)["series"]


def test_gaps_are_gaps() -> None:
    """A series that has nothing at a time says null, before it began too."""
    history = filled(2)
    history.sample(20.0, {SeriesKey("chat", None, "ngram"): (0.25, 0.0, 0.5)})
    told = {one["task"]: one["values"][0] for one in history.alphas(None, window_s=900, most=9)["series"]}
    assert told == {"chat": [None, None, 0.25], "code": [0.0, pytest.approx(0.001), None]}


def test_requests_per_second_are_of_the_last_minute() -> None:
    """All tasks together; unknown before the first sample, not 0."""
    assert History().per_second(None) is None
    assert filled(3).per_second(None) == pytest.approx(0.3)
    assert filled(300).per_second(None) == pytest.approx(0.3)
    assert filled(3).per_second("acme") == 0.0
