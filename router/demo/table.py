"""The demo's end, for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from router.demo.figures import REFERENCE_K, Figures, TaskFigures
from router.demo.rows import Row
from router.demo.words import UNKNOWN, milliseconds, number, percent

_ROOMY = 90
_WIDE_GAP = 2
_SHOWN_ERRORS = 3


def show(console: Console, result: Figures, sentences: Sequence[str], rows: Sequence[Row]) -> None:
    """Print the table, what its columns mean, the totals, the sentences and the first errors."""
    console.print()
    console.print(_table(result, gap=_WIDE_GAP if console.width >= _ROOMY else 1))
    console.print()
    for line in [*_totals(result), *_legend(result)]:
        console.print(line, style="dim", highlight=False, markup=False, soft_wrap=True)
    console.print()
    for sentence in sentences:
        console.print(sentence, style="bold", highlight=False, markup=False, soft_wrap=True)
    for row in [row for row in rows if row.error is not None][:_SHOWN_ERRORS]:
        text = f"failed: {row.prompt} ({row.phase} pass): {row.error}"
        console.print(text, style="red", highlight=False, markup=False, soft_wrap=True)


def _table(result: Figures, *, gap: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0))
    table.add_column("\ntask", no_wrap=True)
    table.add_column("\nrequests", justify="right", no_wrap=True)
    table.add_column("speculative\nfirst, 2nd", justify="right", no_wrap=True)
    table.add_column("\nprofile", no_wrap=True)
    names = ("\nk", "\nα", "\nc₁", "\nL", "TPOT,\nspec.", "TPOT,\nvanilla", "time\nsaved")  # noqa: RUF001
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for task in result.tasks:
        table.add_row(*_cells(task))
    return table


def _cells(task: TaskFigures) -> list[str]:
    failed = f" ({task.failed} failed)" if task.failed else ""
    first, second = percent(task.first_share), percent(task.second_share)
    return [
        task.task,
        f"{task.requests}{failed}",
        _change(first, second),
        task.profile or UNKNOWN,
        UNKNOWN if task.k is None else f"{task.k:g}",
        number(task.alpha),
        number(task.coverage_1),
        number(task.acceptance_length),
        milliseconds(task.speculative_tpot_s),
        milliseconds(task.vanilla_tpot_s),
        percent(task.saved),
    ]


def _change(first: str, second: str) -> str:
    if first == second:
        return first
    return f"{first if second == UNKNOWN else first.removesuffix(' %')} → {second}"


def _totals(result: Figures) -> list[str]:
    totals = result.totals
    lines = [
        (
            f"{totals.requests} requests, {totals.failed} failed; {totals.classified_as_intended} "
            f"of {totals.classified} prompts classified as their author meant"
        ),
        (
            f"speculative: {percent(totals.first_share)} of the first pass, "
            f"{percent(totals.second_share)} of the second"
        ),
    ]
    if totals.second_ratio is not None:
        lines.append(
            f"total decode time, second pass to all-vanilla: {number(totals.second_ratio)}; "
            f"first pass to all-vanilla: {number(totals.first_ratio)}"
        )
    if totals.greedy_pairs:
        lines.append(
            f"{totals.identical_greedy_pairs} of {totals.greedy_pairs} greedy prompts that were answered on "
            "both routes got the same text on both"
        )
    return lines


def _legend(result: Figures) -> list[str]:
    how = {
        "paired": "each prompt against its own vanilla run beside it",
        "seen": "against the vanilla speed seen in this run, not paired (the policy allows no overrides)",
        "none": "not available: nothing ran vanilla",
    }[result.baseline]
    return [
        (
            f"α: effective acceptance at k = {REFERENCE_K}; c₁: share of steps with a draft; "  # noqa: RUF001
            "L: tokens per step; all counted from this run. TPOT in ms."
        ),
        f"time saved: of the second pass's decode time, {how}.",
    ]
