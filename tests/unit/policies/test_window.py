"""Weekdays and times of schedules."""

from __future__ import annotations

import datetime as dt
import zoneinfo

import pytest
from pydantic_core import PydanticCustomError

from policies.window import (
    WEEKDAYS,
    Window,
    minute_of_week,
    parse_clock,
    parse_days,
    parse_end,
    parse_zone,
    time_zone,
)

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
    """HH:MM in 24 hours, as minutes since midnight; only an end may be 24:00."""
    assert [parse_clock(value) for value in ("00:00", "09:05", "23:59")] == [0, 545, 1439]
    assert [parse_end(value) for value in ("00:00", "09:05", "24:00")] == [0, 545, 1440]


@pytest.mark.parametrize("value", ["9:00", "24:01", "09:60", "09:00:00", "09:00\n", 540, None])
def test_what_is_no_time_of_day_is_refused(value: object) -> None:
    """One digit for the hour, past the end of the day, and numbers."""
    for parse in (parse_clock, parse_end):
        with pytest.raises(PydanticCustomError):
            parse(value)
    with pytest.raises(PydanticCustomError):
        parse_clock("24:00")


def test_a_window_is_written_as_it_was_read() -> None:
    """In JSON as in a file."""
    written = {"days": ["mon", "tue"], "from": "09:05", "to": "24:00", "tz": "Europe/Berlin"}
    assert Window.model_validate(written).model_dump(mode="json", by_alias=True) == written


@pytest.mark.parametrize(
    ("days", "span", "first", "last", "minutes"),
    [
        pytest.param("mon", "00:00-24:00", "mon 00:00", "mon 23:59", 1440, id="a whole day"),
        pytest.param("mon-sun", "00:00-24:00", "mon 00:00", "sun 23:59", 7 * 1440, id="always"),
        pytest.param("tue", "09:00-17:30", "tue 09:00", "tue 17:29", 510, id="the end is not included"),
        pytest.param("tue", "22:00-06:00", "tue 22:00", "wed 05:59", 480, id="past midnight"),
        pytest.param("tue", "22:00-00:00", "tue 22:00", "tue 23:59", 120, id="to midnight"),
        pytest.param("sun", "22:00-06:00", "sun 22:00", "mon 05:59", 480, id="past the end of the week"),
    ],
)
def test_a_window_as_the_minutes_of_a_week(days: str, span: str, first: str, last: str, minutes: int) -> None:
    """A span belongs to the day on which it begins."""

    def minute(text: str) -> int:
        day, clock = text.split()
        return list(WEEKDAYS).index(day) * 1440 + parse_clock(clock)  # type: ignore[arg-type]

    start, end = span.split("-")
    week = Window.model_validate({"days": days, "from": start, "to": end}).week()
    assert week.bit_count() == minutes
    for inside, beyond in ((minute(first), -1), (minute(last), 1)):
        assert week >> inside & 1
        assert minutes == 7 * 1440 or not week >> (inside + beyond) % (7 * 1440) & 1
    assert week < 1 << 7 * 1440


def test_the_week_begins_on_monday() -> None:
    """Weekdays are those of the calendar."""
    assert minute_of_week(dt.datetime(2026, 11, 23, tzinfo=dt.UTC)) == 0
    assert minute_of_week(dt.datetime(2026, 11, 22, 23, 59, 59, tzinfo=dt.UTC)) == 7 * 1440 - 1


def test_every_zone_can_be_had() -> None:
    """Whatever name passes has a zone, UTC without the machine's help, and none is off by seconds today."""
    for name in (*zoneinfo.available_timezones(), "UTC"):
        offset = dt.datetime(2026, 1, 1, tzinfo=time_zone(parse_zone(name))).utcoffset()
        assert offset is not None
        assert not offset.seconds % 60, name


@pytest.mark.parametrize("value", ["Mars/Olympus", "../../etc/passwd", "", 1])
def test_what_is_no_zone_is_refused(value: object) -> None:
    """Only zones the machine knows, and never a path."""
    with pytest.raises(PydanticCustomError):
        parse_zone(value)
