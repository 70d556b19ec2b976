"""Cells: temperature buckets and decay."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.cells import CellKey, CellRecord, decay_factor, temperature_bucket

pytestmark = pytest.mark.unit

HALF_LIVES = st.floats(1e-3, 1e8)
SPANS = st.floats(0, 1e7)


@pytest.mark.parametrize(
    ("temperature", "bucket"),
    [(-1.0, "low"), (0.0, "low"), (0.3, "low"), (0.31, "mid"), (0.8, "mid"), (0.81, "high"), (2.0, "high")],
)
def test_a_temperature_has_a_bucket(temperature: float, bucket: str) -> None:
    """Low up to 0.3, mid up to 0.8, high above."""
    assert temperature_bucket(temperature) == bucket


def test_a_cell_without_a_tenant_is_the_total_of_its_task() -> None:
    """The tenant is the last, optional part of the name."""
    total = CellKey("ngram", "code", "low")
    assert total.tenant is None
    assert total == CellKey("ngram", "code", "low", "acme")._replace(tenant=None)


@given(HALF_LIVES, SPANS, SPANS)
def test_decay_composes(half_life_s: float, first_s: float, second_s: float) -> None:
    """Decaying twice is decaying over the sum of the times."""
    twice = decay_factor(first_s, half_life_s) * decay_factor(second_s, half_life_s)
    once = decay_factor(first_s + second_s, half_life_s)
    assert math.isclose(twice, once, rel_tol=1e-6, abs_tol=1e-300)


@given(HALF_LIVES)
def test_a_half_life_halves(half_life_s: float) -> None:
    """That is what the word means."""
    assert decay_factor(half_life_s, half_life_s) == 0.5


@pytest.mark.parametrize("elapsed_s", [0.0, -0.1, -1e9, -math.inf, math.nan])
def test_a_clock_that_went_backwards_decays_nothing(elapsed_s: float) -> None:
    """Evidence never grows."""
    assert decay_factor(elapsed_s, 600.0) == 1.0


def test_an_eternity_decays_to_nothing() -> None:
    """Without an error on the way."""
    assert decay_factor(1e300, 600.0) == 0.0


def test_a_record_decays_every_counter_and_no_total() -> None:
    """Rates are unchanged by decay, weights are not."""
    record = CellRecord({"accepted": 6.0, "drafted": 8.0}, {"steps": 2}, updated_at_s=1000.0)
    assert record.decayed_to(1600.0, 600.0) == {"accepted": 3.0, "drafted": 4.0}
    assert record.lifetime == {"steps": 2}
    assert record.decayed_to(1000.0, 600.0) == record.counters
