"""Quantities with a unit: durations (`10m`, `200ms`) and shares of traffic (`2 %`, `0.02`)."""

from __future__ import annotations

import math
import re
from typing import Annotated, Final

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from policies.problems import refusal, show

_UNIT_SECONDS: Final = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_DURATION_PATTERN = (
    rf"^(?=.)(?:{_NUMBER}d)?(?:{_NUMBER}h)?(?:{_NUMBER}m(?!s))?(?:{_NUMBER}s)?(?:{_NUMBER}ms)?$"
)
_SHARE_PATTERN = rf"^{_NUMBER} ?%$"
_DURATION = re.compile(_DURATION_PATTERN)
_PART = re.compile(rf"({_NUMBER})(ms|[dhms])")
_SHARE = re.compile(_SHARE_PATTERN)
_DURATION_HINT = "write it like 200ms, 2s, 10m or 1h30m"

# A year is far beyond any sensible half-life or deadline, and keeps sums of seconds exact.
MAX_DURATION_S: Final = 365 * _UNIT_SECONDS["d"]


def parse_duration(value: object) -> float:
    """Seconds of a duration such as `1h30m`: units d, h, m, s, ms, largest first.

    Raises:
        pydantic_core.PydanticCustomError: Not a duration, not longer than zero, or longer than a year.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise refusal(f"a duration needs a unit, got {show(value)}", f"write {value}s, {value}ms or {value}m")
    if not isinstance(value, str):
        raise refusal(f"expected a duration, got {show(value)}", _DURATION_HINT)
    if not _DURATION.fullmatch(value):
        raise refusal(f"{show(value)} is not a duration", _DURATION_HINT)
    seconds = math.fsum(float(number) * _UNIT_SECONDS[unit] for number, unit in _PART.findall(value))
    if not 0 < seconds <= MAX_DURATION_S:
        bounds = f"longer than zero and at most {format_duration(MAX_DURATION_S)}"
        raise refusal(f"a duration must be {bounds}, got {show(value)}")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest way to write a duration: 5400 → `1h30m`, 0.2 → `200ms`; exact to the microsecond."""
    rest_us = max(1, round(seconds * 1e6))
    text = ""
    for unit, unit_s in _UNIT_SECONDS.items():
        if unit == "ms":
            break
        count, rest_us = divmod(rest_us, round(unit_s * 1e6))
        text += f"{count}{unit}" if count else ""
    return text + (f"{rest_us / 1e3:.3f}".rstrip("0").rstrip(".") + "ms" if rest_us else "")


def parse_share(value: object) -> float:
    """The fraction in [0, 1] that `2 %`, `2%` or 0.02 stands for.

    Raises:
        pydantic_core.PydanticCustomError: Neither a percentage nor a number, or outside [0, 1].
    """
    if isinstance(value, str) and _SHARE.fullmatch(value):
        fraction = float(value.rstrip("% ")) / 100
    elif isinstance(value, int | float) and not isinstance(value, bool):
        fraction = float(value)
    else:
        raise refusal(f"expected a share, got {show(value)}", "write it like 2% or 0.02")
    if not 0 <= fraction <= 1:
        raise refusal(f"a share must lie between 0% and 100%, got {show(value)}", "write it like 2% or 0.02")
    return fraction


def format_share(fraction: float) -> str:
    """A fraction as a percentage: 0.02 → `2%`."""
    return f"{fraction * 100:.10f}".rstrip("0").rstrip(".") + "%"


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": _DURATION_PATTERN, "examples": ["200ms", "2s", "1h30m"]}),
]
"""Seconds, written with a unit in files and in JSON."""

Share = Annotated[
    float,
    BeforeValidator(parse_share),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": 1},
                {"type": "string", "pattern": _SHARE_PATTERN},
            ]
        }
    ),
]
"""A fraction in [0, 1], written as a number or a percentage."""
