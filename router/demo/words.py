"""Numbers and names as people read them."""

from __future__ import annotations

from collections.abc import Sequence

UNKNOWN = "-"


def percent(value: float | None) -> str:
    """A fraction in whole percent."""
    return UNKNOWN if value is None else f"{value * 100 + 0.0:.0f} %".replace("-0 ", "0 ")


def number(value: float | None) -> str:
    """Two decimals."""
    return UNKNOWN if value is None else f"{value:.2f}"


def milliseconds(value_s: float | None) -> str:
    """Seconds as milliseconds."""
    return UNKNOWN if value_s is None else f"{value_s * 1000:.1f}"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
