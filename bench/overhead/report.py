"""The report as text: a table per load, one of slopes, and what specroute adds beside each other side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any


def text(report: Mapping[str, Any]) -> str:
    """What a person reads; intervals are of 95 %."""
    machine, load = report["machine"], report["load"]
    lines = [
        f"{machine['processor']}, {machine['cores']} cores",
        f"load of the machine {machine['load']} to {machine['load_after']}",
        f"{load['repeats']} repeats, {load['step_ms']} ms per chunk, intervals of 95 %",
        *(f"{name}: not installed" for name in report["not_installed"]),
        *(f"{name}: left out: {why}" for name, why in report["failed"].items()),
    ]
    for (chunks, clients), rows in groupby(report["cells"], lambda row: (row["chunks"], row["clients"])):
        lines += ["", f"{chunks} chunks, {clients} at once"]
        lines.append(_line("", "total ms", "added ms", "first event ms", "added ms", "CPU ms", "added ms"))
        lines += [
            _line(row["side"], *_pair(row, "total"), *_pair(row, "first"), *_pair(row, "cpu")) for row in rows
        ]
    if report["slopes"]:
        lines += ["", "added, µs", _line("", "per request", "per chunk", "CPU per request", "CPU per chunk")]
        lines += [
            _line(
                f"{row['side']}, {row['clients']} at once",
                *(
                    _shown(row[f"{kind}_us_per_{of}"], 0)
                    for kind in ("total", "cpu")
                    for of in ("request", "chunk")
                ),
            )
            for row in report["slopes"]
        ]
    lines += _beside(report["comparisons"])
    return "\n".join(lines)


def _beside(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    lines = ["", "what specroute adds, as a ratio to what others add; last, the whole time to theirs"]
    lines.append(_line("", "total", "first event", "CPU", "whole"))
    for row in rows:
        name = f"{row['to']}, {row['chunks']} chunks, {row['clients']} at once"
        shown = (_shown(row[f"added_{measure}_ms"], 2) for measure in ("total", "first", "cpu"))
        lines.append(_line(name, *shown, _shown(row["total_ms"], 2)))
    return lines


def _pair(row: Mapping[str, Any], measure: str) -> tuple[str, str]:
    added = row.get(f"added_{measure}_ms")
    return f"{row[f'{measure}_ms'][0]:.2f}", "" if added is None else _shown(added, 2)


def _shown(interval: Sequence[float] | None, digits: int) -> str:
    if interval is None:
        return "-"
    value, low, high = interval
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _line(name: str, *columns: str) -> str:
    return f"{name:34s}" + "".join(f"{column:>24s}" for column in columns)
