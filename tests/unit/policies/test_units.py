"""Durations and shares: what is understood, what is refused and how they are printed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from policies.units import MAX_DURATION_S, format_duration, format_share, parse_duration, parse_share

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10m", 600),
        ("2s", 2),
        ("200ms", 0.2),
        ("1h30m", 5400),
        ("1.5s", 1.5),
        ("1d", 86400),
        ("1m200ms", 60.2),
    ],
)
def test_a_duration_is_its_seconds(text: str, seconds: float) -> None:
    """Units add up."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    ["", "10", "m", "10 m", "30m1h", "1h1h", "-2s", "1e3s", "٣s", "2s\n", "366d", "0ms", True, None, 5, 1.5],
)
def test_what_is_no_duration_is_refused(value: object) -> None:
    """No unit, the wrong order, signs, foreign digits, nothing and more than a year."""
    with pytest.raises(PydanticCustomError):
        parse_duration(value)


def test_a_bare_number_names_the_fix() -> None:
    """The message says that a unit is missing, the hint how to write it."""
    with pytest.raises(PydanticCustomError) as caught:
        parse_duration(30)
    violation = (caught.value.context or {})["violations"][0]
    assert (violation.message, violation.hint) == (
        "a duration needs a unit, got 30",
        "write 30s, 30ms or 30m",
    )


@given(st.floats(min_value=1e-3, max_value=MAX_DURATION_S))
def test_a_printed_duration_reads_back(seconds: float) -> None:
    """Printing is exact to the microsecond."""
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    ("seconds", "text"), [(5400, "1h30m"), (0.2, "200ms"), (600, "10m"), (1.5, "1s500ms"), (86400, "1d")]
)
def test_a_duration_is_printed_as_people_write_it(seconds: float, text: str) -> None:
    """The largest units first, none that is zero."""
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "fraction"), [("2 %", 0.02), ("2%", 0.02), (0.02, 0.02), (1, 1.0), ("0.5%", 0.005), (0, 0.0)]
)
def test_a_share_is_its_fraction(value: object, fraction: float) -> None:
    """Percentages and numbers mean the same."""
    assert parse_share(value) == pytest.approx(fraction)


@pytest.mark.parametrize("value", ["0.02", "101%", "-1%", "%", 1.01, -0.1, float("nan"), True, None, []])
def test_what_is_no_share_is_refused(value: object) -> None:
    """Numbers in quotes, and everything outside [0, 1]."""
    with pytest.raises(PydanticCustomError):
        parse_share(value)


@given(st.floats(min_value=0, max_value=1))
def test_a_printed_share_reads_back(fraction: float) -> None:
    """Printing keeps ten digits."""
    assert parse_share(format_share(fraction)) == pytest.approx(fraction, abs=1e-11)
