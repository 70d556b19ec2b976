"""Weekdays and times of schedules."""

from __future__ import annotations

import datetime as dt

import pytest
from pydantic_core import PydanticCustomError

from policies.window import WEEKDAYS, parse_clock, parse_days, parse_zone

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("value", "days"),
    [
        ("mon-fri", WEEKDAYS[:5]),
        ("sat,sun", ("sat", "sun")),
        (["sun", "mon"], ("mon", "sun")),
        ("fri-mon", ("mon", "fri", "sat", "sun")),
        ("mon-wed, fri", ("mon", "tue", "wed", "fri")),
        ("tue-tue", ("tue",)),
        ("mon-sun", WEEKDAYS),
    ],
)
def test_days_are_put_in_the_order_of_the_week(value: object, days: tuple[str, ...]) -> None:
    """Ranges may wrap, lists and commas mix."""
    assert parse_days(value) == days


@pytest.mark.parametrize("value", ["", [], "monday", "mon-", "-fri", "mon-fri-sat", 1, [1], None])
def test_what_is_no_day_is_refused(value: object) -> None:
    """Words that are no day, numbers, and nothing."""
    with pytest.raises(PydanticCustomError):
        parse_days(value)


def test_a_time_of_day_is_hours_and_minutes() -> None:
    """HH:MM in 24 hours."""
    assert parse_clock("23:59") == dt.time(23, 59)


@pytest.mark.parametrize("value", ["9:00", "24:00", "09:60", "09:00:00", 540, None])
def test_what_is_no_time_of_day_is_refused(value: object) -> None:
    """One digit for the hour, the end of the day, and numbers."""
    with pytest.raises(PydanticCustomError):
        parse_clock(value)


@pytest.mark.parametrize("value", ["Mars/Olympus", "../../etc/passwd", "", 1])
def test_what_is_no_zone_is_refused(value: object) -> None:
    """Only zones the machine knows, and never a path."""
    with pytest.raises(PydanticCustomError):
        parse_zone(value)
