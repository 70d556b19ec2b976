"""Which of a policy's schedules apply at a moment, and which of them can apply together."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator

from policies.schema import RoutingPolicy
from policies.window import Window, minute_of_week, time_zone


class Timetable:
    """The windows of a policy's schedules, by their indices in the file.

    A window is about the clock on the wall in its time zone. An hour that daylight saving time repeats counts
    both times, one that it skips never happens, and a span that begins within it begins when it is over.
    """

    def __init__(self, windows: Iterable[Window]) -> None:
        self._windows = tuple((window.tz, time_zone(window.tz), window.week()) for window in windows)

    def at(self, moment: dt.datetime) -> tuple[int, ...]:
        """The windows that the moment lies in, in the order of the file.

        The answer is the same for a whole minute of UTC: windows begin and end with a minute of the local
        clock, and the time zones of today differ from UTC by whole minutes.

        Raises:
            ValueError: The moment has no time zone.
        """
        if moment.tzinfo is None:
            raise ValueError(f"a moment needs a time zone, got {moment.isoformat()}")
        return tuple(
            index
            for index, (_, zone, week) in enumerate(self._windows)
            if week >> minute_of_week(moment.astimezone(zone)) & 1
        )

    def overlaps(self) -> Iterator[tuple[int, int]]:
        """Pairs of windows that a moment may lie in both of.

        Of windows in different time zones that is taken for granted: the distance of their clocks changes.
        """
        for second, (zone, _, week) in enumerate(self._windows):
            for first, (other_zone, _, other_week) in enumerate(self._windows[:second]):
                if zone != other_zone or week & other_week:
                    yield first, second


def timetable(policy: RoutingPolicy) -> Timetable:
    """When the schedules of a policy apply."""
    return Timetable(schedule.when for schedule in policy.spec.schedules)
