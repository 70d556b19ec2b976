"""Which windows a moment lies in, on the clocks of places with daylight saving time."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.timetable import Timetable
from policies.window import WEEKDAYS, Window

pytestmark = pytest.mark.unit

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
# Weeks, from Monday in UTC, in which clocks are put forward or back, and one in which they are not.
WEEKS = [
    dt.datetime(2026, 3, 2, tzinfo=dt.UTC),  # New York, 8 March
    dt.datetime(2026, 3, 23, tzinfo=dt.UTC),  # Berlin, 29 March
    dt.datetime(2026, 10, 19, tzinfo=dt.UTC),  # Berlin, 25 October
    dt.datetime(2026, 10, 26, tzinfo=dt.UTC),  # New York, 1 November
    dt.datetime(2026, 12, 28, tzinfo=dt.UTC),  # the year ends
]
MINUTE = dt.timedelta(minutes=1)


def window(start: str, end: str, tz: str = BERLIN, days: str = "mon-sun") -> Window:
    return Window.model_validate({"from": start, "to": end, "tz": tz, "days": days})


def naive(written: Window, moment: dt.datetime) -> bool:
    """The same question, asked of the wall clock in words."""
    start, end = (f"{value // 60:02}:{value % 60:02}" for value in (written.from_, written.to))
    local = moment.astimezone(ZoneInfo(written.tz))
    clock, today = f"{local:%H:%M}", local.weekday()
    begun = WEEKDAYS[today] in written.days and clock >= start
    if start < end:
        return begun and clock < end
    return begun or (WEEKDAYS[today - 1] in written.days and clock < end)


CLOCKS = st.tuples(st.integers(0, 23), st.sampled_from([0, 1, 15, 30, 59])).map("{0[0]:02}:{0[1]:02}".format)
WINDOWS = st.builds(
    lambda start, end, tz, days: {"from": start, "to": end, "tz": tz, "days": days},
    CLOCKS,
    CLOCKS | st.just("24:00"),
    st.sampled_from([BERLIN, NEW_YORK, "UTC", "Asia/Kathmandu", "Australia/Lord_Howe"]),
    st.lists(st.sampled_from(WEEKDAYS), min_size=1, unique=True),
).filter(lambda values: values["from"] != values["to"])


@settings(max_examples=25, deadline=None)
@given(values=st.lists(WINDOWS, min_size=1, max_size=3), monday=st.sampled_from(WEEKS))
def test_every_minute_of_a_week_agrees_with_the_wall_clock(
    values: list[dict[str, Any]], monday: dt.datetime
) -> None:
    """Windows past midnight, at the end of the week, in repeated and in skipped hours."""
    windows = [Window.model_validate(value) for value in values]
    timetable = Timetable(windows)
    for minute in range(7 * 24 * 60):
        moment = monday + minute * MINUTE
        expected = tuple(index for index, written in enumerate(windows) if naive(written, moment))
        assert timetable.at(moment) == expected, moment


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(WINDOWS, min_size=1, max_size=3),
    monday=st.sampled_from(WEEKS),
    minute=st.integers(0, 7 * 24 * 60),
    within_s=st.floats(0, 59.999),
)
def test_nothing_changes_within_a_minute(
    values: list[dict[str, Any]], monday: dt.datetime, minute: int, within_s: float
) -> None:
    """So that it is enough to look once a minute."""
    timetable = Timetable([Window.model_validate(value) for value in values])
    moment = monday + minute * MINUTE
    assert timetable.at(moment + dt.timedelta(seconds=within_s)) == timetable.at(moment)


@pytest.mark.parametrize(
    ("start", "end", "day", "minutes"),
    [
        pytest.param("02:15", "02:45", dt.date(2026, 3, 29), 0, id="spring, skipped"),
        pytest.param("02:30", "04:00", dt.date(2026, 3, 29), 60, id="spring, begins in the skipped hour"),
        pytest.param("00:00", "24:00", dt.date(2026, 3, 29), 23 * 60, id="spring, a whole day"),
        pytest.param("02:15", "02:45", dt.date(2026, 10, 25), 60, id="autumn, twice"),
        pytest.param("01:00", "04:00", dt.date(2026, 10, 25), 240, id="autumn, through the repeated hour"),
        pytest.param("00:00", "24:00", dt.date(2026, 10, 25), 25 * 60, id="autumn, a whole day"),
        pytest.param("02:15", "02:45", dt.date(2026, 11, 25), 30, id="any other day"),
    ],
)
def test_days_on_which_the_clock_is_changed(start: str, end: str, day: dt.date, minutes: int) -> None:
    """Berlin: from 02:00 to 03:00 in spring, from 03:00 back to 02:00 in autumn."""
    timetable = Timetable([window(start, end)])
    before = dt.datetime.combine(day, dt.time(), dt.UTC) - dt.timedelta(hours=6)
    moments = [before + number * MINUTE for number in range(36 * 60)]
    on_the_day = [moment for moment in moments if moment.astimezone(ZoneInfo(BERLIN)).date() == day]
    assert sum(bool(timetable.at(moment)) for moment in on_the_day) == minutes


def test_a_moment_needs_a_zone() -> None:
    """A time of day means nothing without a place."""
    with pytest.raises(ValueError, match="needs a time zone"):
        Timetable([]).at(dt.datetime(2026, 1, 1))  # noqa: DTZ001


@settings(max_examples=50, deadline=None)
@given(values=st.lists(WINDOWS, min_size=2, max_size=4), monday=st.sampled_from(WEEKS))
def test_windows_that_do_not_overlap_never_apply_together(
    values: list[dict[str, Any]], monday: dt.datetime
) -> None:
    """Whatever applies at once is among the pairs."""
    timetable = Timetable([Window.model_validate(value) for value in values])
    pairs = set(timetable.overlaps())
    for quarter in range(7 * 24 * 4):
        together = timetable.at(monday + quarter * 15 * MINUTE)
        assert all((one, other) in pairs for one in together for other in together if one < other)


def test_windows_of_one_zone_overlap_when_they_share_a_minute() -> None:
    """Windows that touch do not; those of two zones may always."""
    morning, noon = window("09:00", "12:00"), window("12:00", "13:00")
    assert list(Timetable([morning, noon]).overlaps()) == []
    assert list(Timetable([morning, noon, window("11:59", "12:01")]).overlaps()) == [(0, 2), (1, 2)]
    assert list(Timetable([morning, window("12:00", "13:00", NEW_YORK)]).overlaps()) == [(0, 1)]
