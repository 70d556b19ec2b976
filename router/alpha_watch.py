"""The table of `specroute alpha`: its rows, their trends, and watching them change."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from policies.units import format_duration

WINDOW_S: Final = 300.0
"""How far back trends look."""
_LEAST_S: Final = 20.0
"""Before so much has been seen there is no trend."""
_SAMPLE_S: Final = 10.0
_AROUND_ROWS: Final = 6
"""Lines of a terminal around the rows: heads, notes, the prompt."""
NOTHING: Final = "nothing learned yet: send some requests first"
STORE_AWAY: Final = "the store does not answer: these are this router's own figures"

Answer = dict[str, Any]
"""What `GET /admin/v1/alpha` answers."""


class ServiceError(Exception):
    """The service did not answer as it should; the message is one line and says what to check."""


class Trend(NamedTuple):
    """How alpha changed within `over_s` seconds.

    ↑ and ↓ mean that it left the interval it had then: more than the doubt there was. Anything less is →.
    """

    arrow: str
    change: float
    over_s: float


class _Seen(NamedTuple):
    at_s: float
    alpha: float
    low: float
    high: float


class Trends:
    """What a watch has seen of every row in the last minutes."""

    def __init__(self) -> None:
        self._seen: dict[tuple[Any, ...], deque[_Seen]] = {}

    def note(self, entries: Sequence[dict[str, Any]], now_s: float) -> None:
        """Remember the figures of now, one in ten seconds; rows that are gone are forgotten."""
        before, self._seen = self._seen, {}
        for entry in entries:
            if entry["alpha"] is None:
                continue
            seen = self._seen[_key(entry)] = before.get(_key(entry)) or deque()
            if not seen or now_s - seen[-1].at_s >= _SAMPLE_S:
                seen.append(_Seen(now_s, entry["alpha"], *entry["interval"]))
            while len(seen) > 1 and now_s - seen[1].at_s >= WINDOW_S:
                seen.popleft()

    def trend(self, entry: dict[str, Any], now_s: float) -> Trend | None:
        """Since five minutes ago, or since the watch began; None while that is too short to say."""
        seen = self._seen.get(_key(entry))
        if not seen or entry["alpha"] is None or now_s - seen[0].at_s < _LEAST_S:
            return None
        then, alpha = seen[0], entry["alpha"]
        arrow = "↑" if alpha > then.high else "↓" if alpha < then.low else "→"
        return Trend(arrow, alpha - then.alpha, now_s - then.at_s)


def chosen(answer: Answer, *, task: str | None, tenant: str | None) -> Answer:
    """The answer with the rows of one task, or one tenant."""
    entries = [
        entry
        for entry in answer["entries"]
        if task in {None, entry["task"]} and tenant in {None, entry["tenant"]}
    ]
    return {**answer, "entries": entries}


def table(answer: Answer, rows: int, trends: Trends | None = None, now_s: float = 0.0) -> Group | Text:
    """The answer as a table of at most so many rows, those with the most evidence; with trends if watched."""
    entries = answer["entries"]
    if not entries:
        return Text(NOTHING)
    shown = sorted(sorted(entries, key=lambda entry: -entry["steps"])[:rows], key=_order)
    found = Table(box=None, pad_edge=False)
    heads = ["task", "tenant", "profile", "temperature", "alpha", "90 % interval", "trend", "coverage"]
    heads += ["length", "steps", "requests", "arm in use"]
    for head in heads:
        if head != "trend" or trends is not None:
            found.add_column(head)
    for entry in shown:
        cells = _cells(entry)
        if trends is not None:
            cells.insert(heads.index("trend"), _trend(trends.trend(entry, now_s)))
        found.add_row(*cells)
    notes = []
    if len(shown) < len(entries):
        notes.append(Text(f"{len(entries) - len(shown)} more rows: see --rows, --task and --tenant"))
    if trends is not None:
        notes.append(Text("trend: ↑ or ↓ where alpha left the interval it had then", style="dim"))
    return Group(found, *notes)


def watch(
    fetch: Callable[[], Answer],
    console: Console,
    *,
    rows: int,
    interval_s: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    as_json: bool = False,
) -> None:
    """Show what is learned again and again, until interrupted: in place on a terminal, else line by line.

    With `as_json` every line is an answer, its rows with their trends.

    Raises:
        ServiceError: The service does not answer at all; once it has, it is asked again.
    """
    trends = Trends()
    answer = fetch()
    complaint = ""
    in_place = console.is_terminal and not as_json
    view: AbstractContextManager[Live | None] = nullcontext()
    if in_place:
        rows = min(rows, max(1, console.height - _AROUND_ROWS))
        view = Live(console=console, auto_refresh=False)
    with view as live:
        while True:
            now_s = clock()
            trends.note(answer["entries"], now_s)
            if as_json:
                console.out(json.dumps(_with_trends(answer, trends, now_s)), highlight=False)
            else:
                shown = Group(table(answer, rows, trends, now_s), Text(complaint or _store(answer)))
                if live is not None:
                    live.update(shown, refresh=True)
                else:
                    console.print(shown)
            sleep(interval_s)
            try:
                answer, complaint = fetch(), ""
            except ServiceError as error:
                complaint = str(error)


def _store(answer: Answer) -> str:
    return "" if answer["store_up"] else STORE_AWAY


def _with_trends(answer: Answer, trends: Trends, now_s: float) -> Answer:
    entries = []
    for entry in answer["entries"]:
        found = trends.trend(entry, now_s)
        entries.append({**entry, "trend": found._asdict() if found else None})
    return {**answer, "entries": entries}


def _key(entry: dict[str, Any]) -> tuple[Any, ...]:
    return entry["profile"], entry["task"], entry["tenant"], entry["temperature"]


def _order(entry: dict[str, Any]) -> tuple[str, ...]:
    return entry["task"], entry["tenant"] or "", entry["profile"], entry["temperature"] or ""


def _cells(entry: dict[str, Any]) -> list[str]:
    interval, arm = entry["interval"], entry.get("arm")
    return [
        entry["task"],
        entry["tenant"] or "all",
        entry["profile"],
        entry["temperature"] or "all",
        _number(entry["alpha"]),
        f"{interval[0]:.2f} to {interval[1]:.2f}" if interval else "-",
        _number(entry["coverage"][0] if entry["coverage"] else None),
        _number(entry["acceptance_length"]),
        f"{entry['steps']:.0f}",
        str(entry["lifetime"]["requests"]),
        "-" if arm is None else f"{arm['profile']} k={arm['k']}",
    ]


def _trend(trend: Trend | None) -> str:
    if trend is None:
        return "-"
    return f"{trend.arrow} {trend.change:+.2f} in {format_duration(max(1, round(trend.over_s)))}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
