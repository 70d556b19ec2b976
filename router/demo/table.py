"""The demo's end, for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from router.demo.figures import REFERENCE_K, Figures, TaskFigures
from router.demo.rows import Row

_NARROWEST = 100
_SHOWN_ERRORS = 3
_UNKNOWN = "-"


def show(console: Console, result: Figures, sentences: Sequence[str], rows: Sequence[Row]) -> None:
    """Print the table, what its columns mean, the totals, the sentences and the first errors."""
    width = max(console.width, _NARROWEST) if not console.is_terminal else None
    console.print()
    console.print(_table(result), width=width)
    console.print()
    for line in [*_totals(result), *_legend(result)]:
        console.print(line, style="dim", highlight=False, markup=False, soft_wrap=True)
    console.print()
    for sentence in sentences:
        console.print(sentence, style="bold", highlight=False, markup=False, soft_wrap=True)
    for row in [row for row in rows if row.error is not None][:_SHOWN_ERRORS]:
        text = f"failed: {row.prompt} ({row.pass_name} pass): {row.error}"
        console.print(text, style="red", highlight=False, markup=False, soft_wrap=True)


def _table(result: Figures) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("\ntask", no_wrap=True)
    table.add_column("\nrequests", justify="right", no_wrap=True)
    table.add_column("speculative\n1st to 2nd", justify="right", no_wrap=True)
    table.add_column("\nprofile", no_wrap=True)
    for name in ("\nk", "\nα", "\nc₁", "\nL", "TPOT ms\nspec.", "TPOT ms\nvanilla", "time\nsaved"):
        table.add_column(name, justify="right", no_wrap=True)
    for task in result.tasks:
        table.add_row(*_cells(task))
    return table


def _cells(task: TaskFigures) -> list[str]:
    failed = f" ({task.failed} failed)" if task.failed else ""
    first, second = _percent(task.first_share), _percent(task.second_share)
    return [
        task.task,
        f"{task.requests}{failed}",
        first if first == second else f"{first} to {second}",
        task.profile or _UNKNOWN,
        _UNKNOWN if task.k is None else f"{task.k:g}",
        _number(task.alpha),
        _number(task.coverage_1),
        _number(task.acceptance_length),
        _milliseconds(task.speculative_tpot_s),
        _milliseconds(task.vanilla_tpot_s),
        _percent(task.saved),
    ]


def _totals(result: Figures) -> list[str]:
    totals = result.totals
    lines = [
        f"{totals.requests} requests, {totals.failed} failed; {totals.classified_as_intended} of "
        f"{totals.classified} prompts classified as their author meant; speculative: "
        f"{_percent(totals.first_share)} of the first pass, {_percent(totals.second_share)} of the second"
    ]
    if totals.second_ratio is not None:
        lines.append(
            f"decode time, second pass to all-vanilla: {totals.second_ratio:.3f}; first pass to all-vanilla: "
            f"{_UNKNOWN if totals.first_ratio is None else f'{totals.first_ratio:.3f}'}"
        )
    if totals.greedy_pairs:
        lines.append(
            f"{totals.identical_greedy_pairs} of {totals.greedy_pairs} greedy prompts answered on both routes "
            "got the same text on both"
        )
    return lines


def _legend(result: Figures) -> list[str]:
    how = {
        "paired": "each prompt against its own vanilla run next to it",
        "seen": "against the task's vanilla requests, not paired: the service's policy does not allow overrides",
        "none": "not available: nothing ran vanilla",
    }[result.baseline]
    return [
        f"α: effective acceptance at k = {REFERENCE_K}. c₁: steps with a draft. L: tokens per step. All counted "
        "from this run's requests.",
        f"time saved: decode time of the second pass, {how}.",
    ]


def _number(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value * 100:.0f} %".replace("-0 ", "0 ")


def _milliseconds(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value * 1000:.1f}"
