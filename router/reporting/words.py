"""How the report writes its figures."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

UNKNOWN: Final = "–"  # noqa: RUF001 - a dash for people
_HOUR_S: Final = 3600.0
_MINUTE_S: Final = 60.0
_DAY_H: Final = 24.0
_LONG: Final = 2.0
"""Of a unit, from how many on it is used."""

VERDICTS: Final[Mapping[str, str]] = {
    "saved": "Saved",
    "slower": "Slower",
    "undecided": "No saving shown",
    "not_enough_evidence": "Not enough evidence",
    "no_holdout": "No holdout",
    "unsound": "Not sound",
    "no_requests": "No requests",
}


class Row(NamedTuple):
    """One task or tenant, as it is shown."""

    name: str
    requests: str
    held_out: str
    speculative: str
    ratio: str
    """Decode time over that of plain decoding."""
    interval: str
    saved: str
    passes: str
    verdict: str


def row_of(name: str, claim: Mapping[str, Any]) -> Row:
    """The row of one claim."""
    ratio, interval = ratio_of(claim)
    return Row(
        name,
        f"{claim['requests']:,}",
        f"{claim['holdout_requests']:,}",
        percent(claim["speculative_share"]),
        UNKNOWN if ratio is None else f"{ratio:.2f}",
        UNKNOWN if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}",
        seconds(claim["saved_s"]),
        f"{claim['passes_saved']:,}",
        VERDICTS.get(claim["verdict"], claim["verdict"]),
    )


def ratio_of(claim: Mapping[str, Any]) -> tuple[float | None, tuple[float, float] | None]:
    """Time taken over plain time, and its interval; None where it is not claimed."""
    speedup, interval = claim["speedup"], claim["speedup_interval"]
    if not speedup:
        return None, None
    if not interval or interval[0] <= 0:
        return 1.0 / speedup, None
    return 1.0 / speedup, (1.0 / interval[1], 1.0 / interval[0])


def facts(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The overall figures, each with what it is."""
    overall, holdout = report["overall"], report["holdout"]
    found: dict[str, str] = {}
    if overall["saved_s"] is not None:
        saved = f"{seconds(overall['saved_s'])}{_between(overall['saved_s_interval'], seconds)}"
        plain = seconds(overall["vanilla_s"])
        found["Decode time saved"] = f"{saved}, of {plain} that plain decoding would have taken"
        times = f"{overall['speedup']:.2f}{_between(overall['speedup_interval'], _two)}"
        found["Speedup of decoding"] = times
    if (completion := overall["completion"]) is not None:
        saved = f"{seconds(completion['saved_s'])}{_between(completion['saved_s_interval'], seconds)}"
        found["Time to the last token saved"] = f"{saved}, waiting and reading prompts included"
    if needed := overall["passes_saved"] + overall["passes_made"]:
        passes = f"{overall['passes_saved']:,} of {needed:,} ({overall['passes_saved'] / needed:.0%})"
        found["Target passes saved"] = f"{passes}; counted, not estimated"
    asked = f"{overall['requests']:,}, {overall['output_tokens']:,} output tokens"
    share = percent(overall["speculative_share"])
    found["Requests"] = f"{asked}; of what was routed {share} speculatively"
    found["Held out at random"] = (
        f"{holdout['requests']:,}; at present a share of {percent(holdout['share'])}"
    )
    if overall["other_requests"]:
        found["In no comparison"] = f"{overall['other_requests']:,} requests that nobody could hold out"
    return list(found.items())


def span(report: Mapping[str, Any]) -> str:
    """From when to when, of whom."""
    since, until = (
        dt.datetime.fromtimestamp(report[name], dt.UTC).strftime("%Y-%m-%d %H:%M")
        for name in ("since", "until")
    )
    whose = f"tenant {report['tenant']}" if report["tenant"] is not None else "all tenants"
    what = f"task {report['task']}" if report["task"] is not None else "all tasks"
    return f"{since} to {until} UTC, {whose}, {what}"


def seconds(value: float | None) -> str:
    """A duration for people: 41 s, 12 min, 3.4 h, 5.1 days; with its sign."""
    if value is None:
        return UNKNOWN
    size = abs(value)
    if size < _LONG * _MINUTE_S:
        return f"{value:.3g} s"
    if size < _LONG * _HOUR_S:
        return f"{value / _MINUTE_S:.3g} min"
    if size < _LONG * _DAY_H * _HOUR_S:
        return f"{value / _HOUR_S:.3g} h"
    return f"{value / _HOUR_S / _DAY_H:,.1f} days"


def percent(share: float | None) -> str:
    """A share as a percentage."""
    return UNKNOWN if share is None else f"{100 * share:.3g} %"


def _two(value: float) -> str:
    return f"{value:.2f}"


def _between(interval: Sequence[float] | None, write: Any) -> str:
    return "" if interval is None else f" ({write(interval[0])} to {write(interval[1])})"
