"""When a schedule applies: weekdays, a span of the day and a time zone."""

from __future__ import annotations

import datetime as dt
import functools
import re
import zoneinfo
from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, Strict, WithJsonSchema

from policies.base import PolicyModel
from policies.problems import Violation, choices_hint, refusal, show

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: Final[tuple[Weekday, ...]] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_DAY_MINUTES: Final = 24 * 60
WEEK_MINUTES: Final = len(WEEKDAYS) * _DAY_MINUTES

_CLOCK_PATTERN = r"^([01][0-9]|2[0-3]):([0-5][0-9])$"
_END_PATTERN = r"^([01][0-9]|2[0-3]|24(?=:00)):([0-5][0-9])$"
_UTC: Final = "UTC"
_DAYS_HINT = "write it like mon-fri, or sat,sun, or [mon, wed]"


def parse_days(value: object) -> tuple[Weekday, ...]:
    """The weekdays of `mon-fri`, `sat,sun`, `mon-wed,fri` or a list of such words, in the week's order.

    A range may wrap: `fri-mon` is four days.

    Raises:
        pydantic_core.PydanticCustomError: A word that is no day, or no day at all.
    """
    parts = value if isinstance(value, list | tuple) else [value]
    words = [word.strip() for part in parts for word in _text(part).split(",")]
    days = {day for word in words for day in _day_range(word)}
    if not days:
        raise refusal("needs at least one day", _DAYS_HINT)
    return tuple(day for day in WEEKDAYS if day in days)


def parse_clock(value: object) -> int:
    """The minutes since midnight of `HH:MM`.

    Raises:
        pydantic_core.PydanticCustomError: Anything else.
    """
    return _minutes(_CLOCK_PATTERN, value)


def parse_end(value: object) -> int:
    """The same for the end of a span, which may be `24:00`.

    Raises:
        pydantic_core.PydanticCustomError: Anything else.
    """
    return _minutes(_END_PATTERN, value)


def format_clock(minutes: int) -> str:
    """Minutes since midnight as `HH:MM`."""
    return f"{minutes // 60:02}:{minutes % 60:02}"


def parse_zone(value: object) -> str:
    """The name of a time zone the machine knows.

    Raises:
        pydantic_core.PydanticCustomError: No such zone.
    """
    # available_timezones() instead of ZoneInfo(value): the latter opens any relative path it is given.
    zones = _known_zones()
    if not isinstance(value, str) or value not in zones:
        hint = choices_hint(value, sorted(zones)).partition("allowed:")[0].strip()
        raise refusal(f"unknown time zone {show(value)}", hint or "use a name such as UTC or Europe/Berlin")
    return value


def time_zone(name: str) -> dt.tzinfo:
    """The time zone of a name that `parse_zone` let pass."""
    # Machines without a time zone database know UTC all the same.
    return dt.UTC if name == _UTC else zoneinfo.ZoneInfo(name)


def minute_of_week(local: dt.datetime) -> int:
    """Minutes on the wall clock since Monday, 00:00."""
    return local.weekday() * _DAY_MINUTES + local.hour * 60 + local.minute


@functools.cache
def _known_zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones()) | {_UTC}


def _minutes(pattern: str, value: object) -> int:
    match = re.fullmatch(pattern, value) if isinstance(value, str) else None
    if match is None:
        raise refusal(f"expected a time of day, got {show(value)}", 'write it quoted, like "09:00"')
    return int(match[1]) * 60 + int(match[2])


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise refusal(f"expected days, got {show(value)}", _DAYS_HINT)
    return value


def _day_range(word: str) -> tuple[Weekday, ...]:
    first, dash, last = word.partition("-")
    if first not in WEEKDAYS or (dash and last not in WEEKDAYS):
        raise refusal(f"{show(word)} is not a day or a range of days", _DAYS_HINT)
    start = WEEKDAYS.index(first)
    length = (WEEKDAYS.index(last) - start) % len(WEEKDAYS) + 1 if dash else 1
    return tuple(WEEKDAYS[(start + offset) % len(WEEKDAYS)] for offset in range(length))


Days = Annotated[
    tuple[Weekday, ...],
    BeforeValidator(parse_days),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
_WRITTEN = PlainSerializer(format_clock, return_type=str, when_used="json")
Clock = Annotated[
    int,
    BeforeValidator(parse_clock),
    _WRITTEN,
    WithJsonSchema({"type": "string", "pattern": _CLOCK_PATTERN}),
]
"""Minutes since midnight, written HH:MM."""
End = Annotated[
    int, BeforeValidator(parse_end), _WRITTEN, WithJsonSchema({"type": "string", "pattern": _END_PATTERN})
]
Zone = Annotated[str, Strict(), BeforeValidator(parse_zone), WithJsonSchema({"type": "string"})]


class Window(PolicyModel):
    """Days and a span of the day; a span whose end is before its start runs past midnight."""

    days: Days = WEEKDAYS
    """Such as mon-fri, or sat,sun; the day on which the span begins."""
    from_: Clock = Field(alias="from")
    """Start, HH:MM."""
    to: End
    """End, HH:MM, not included; 24:00 is the end of the day."""
    tz: Zone = _UTC
    """Time zone the times are meant in."""

    def violations(self) -> Sequence[Violation]:
        """A span needs a length."""
        if self.from_ != self.to:
            return ()
        hint = "give the span a length" if self.to else 'a whole day ends at "24:00"'
        return [Violation((("to",), ("from",)), f"from and to are both {format_clock(self.to)}", hint)]

    def week(self) -> int:
        """The window as bits: bit m stands for minute m of a week that begins on Monday, 00:00."""
        length = (self.to - self.from_) % _DAY_MINUTES or _DAY_MINUTES
        bits = 0
        for day in self.days:
            bits |= ((1 << length) - 1) << (WEEKDAYS.index(day) * _DAY_MINUTES + self.from_)
        # What runs past the end of Sunday belongs to Monday.
        return bits % (1 << WEEK_MINUTES) | bits >> WEEK_MINUTES
