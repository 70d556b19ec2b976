"""The hours in which two policies have the same schedules in force."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from policies.schema import RoutingPolicy, Schedule
from policies.window import WEEK_MINUTES, time_zone

# Clocks stand still in neither of them, and summer and winter differ in how far time zones are apart.
_WEEKS: Final = (dt.datetime(2026, 1, 12, tzinfo=dt.UTC), dt.datetime(2026, 7, 13, tzinfo=dt.UTC))


class Hours(NamedTuple):
    """Times at which these schedules apply, by their indices in the two files.

    Attributes:
        before: In the old policy.
        after: In the new policy.
    """

    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()


def all_hours(old: RoutingPolicy, new: RoutingPolicy) -> list[Hours]:
    """Every combination of schedules that occurs in a week; first the one to compare the others with.

    That is the time without any schedule or, where there is none, the combination that lasts longest. Hours
    that occur only on the days when clocks are changed are left out.
    """
    lasting: Counter[Hours] = Counter()
    both = weeks(old.spec.schedules), weeks(new.spec.schedules)
    for number in range(len(_WEEKS)):
        before, after = ([schedule[number] for schedule in each] for each in both)
        for minute, length in _stretches([*before, *after]):
            lasting[Hours(_at(before, minute), _at(after, minute))] += length
    usual = Hours() if Hours() in lasting else max(lasting, key=lambda hours: lasting[hours])
    return [usual, *sorted(lasting.keys() - {usual})]


def weeks(schedules: Sequence[Schedule]) -> list[tuple[int, ...]]:
    """The hours of each schedule in a week of winter and in one of summer, as bits by minutes in UTC."""
    return [tuple(_week(schedule, monday) for monday in _WEEKS) for schedule in schedules]


def _week(schedule: Schedule, monday: dt.datetime) -> int:
    """The schedule's hours as bits, by minutes of the week that begins on this Monday in UTC."""
    local = schedule.when.week()
    offset = monday.astimezone(time_zone(schedule.when.tz)).utcoffset() or dt.timedelta()
    shift = round(offset.total_seconds() / 60) % WEEK_MINUTES
    return (local >> shift | local << (WEEK_MINUTES - shift)) % (1 << WEEK_MINUTES)


def _stretches(weeks: list[int]) -> Iterator[tuple[int, int]]:
    """Minutes at which something begins or ends, and how long nothing does from there on."""
    edges = {0}
    for week in weeks:
        turned = (week << 1 | week >> (WEEK_MINUTES - 1)) % (1 << WEEK_MINUTES)
        changed = week ^ turned
        while changed:
            lowest = changed & -changed
            edges.add(lowest.bit_length() - 1)
            changed ^= lowest
    ordered = sorted(edges)
    for minute, following in zip(ordered, [*ordered[1:], WEEK_MINUTES], strict=True):
        yield minute, following - minute


def _at(weeks: list[int], minute: int) -> tuple[int, ...]:
    return tuple(index for index, week in enumerate(weeks) if week >> minute & 1)
