"""Markdown tables of figures with their intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Column = tuple[str, Callable[[Row], str]]
"""A heading, and what stands under it for a row."""


def table(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """Rows as a table, "" for none; columns of which no row has anything are left out."""
    if not rows:
        return ""
    cells = [[column(row) for row in rows] for _, column in columns]
    kept = [(heading, of) for (heading, _), of in zip(columns, cells, strict=True) if any(of)]
    lines = [
        "| " + " | ".join(heading for heading, _ in kept) + " |",
        "|" + "|".join("---" if place == 0 else "--:" for place in range(len(kept))) + "|",
    ]
    lines += ["| " + " | ".join(of[number] for _, of in kept) + " |" for number in range(len(rows))]
    return "\n".join(lines)


def word(key: str) -> Callable[[Row], str]:
    """What a row says under a key."""
    return lambda row: str(row.get(key, ""))


def figure(key: str, digits: int = 2, scale: float = 1.0) -> Callable[[Row], str]:
    """A figure with its interval, scaled; nothing where the row has none."""
    return lambda row: shown(row.get(key), digits, scale)


def median(key: str, digits: int = 2, scale: float = 1.0) -> Callable[[Row], str]:
    """A figure without its interval."""
    return lambda row: "" if row.get(key) is None else f"{scale * row[key][0]:,.{digits}f}"


def shown(interval: Sequence[float] | None, digits: int = 2, scale: float = 1.0) -> str:
    """`1.20 [1.10, 1.31]`; nothing for none."""
    if interval is None:
        return ""
    value, low, high = (scale * number for number in interval)
    return f"{value:,.{digits}f} [{low:,.{digits}f}, {high:,.{digits}f}]"
