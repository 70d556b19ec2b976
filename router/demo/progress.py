"""How far the demo is: bars on a terminal, else a line now and then. On standard error."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from router.demo.rows import Phase, Row

_NAMES: dict[Phase, str] = {
    "first": "first pass",
    "second": "second pass",
    "vanilla": "all vanilla",
}
_LINES_PER_PHASE = 4


class Reporter(AbstractContextManager["Reporter"], Protocol):
    """Receives every row as it comes."""

    def begin(self, phase: Phase, total: int) -> None:
        """`phase` of `total` requests starts now."""

    def seen(self, row: Row) -> None:
        """One request ended."""


class Tally:
    """The running figures of one phase."""

    def __init__(self, total: int) -> None:
        """For a phase of `total` requests."""
        self.total = total
        self.done = self.failed = self.speculative = 0

    def add(self, row: Row) -> None:
        """Count one request."""
        self.done += 1
        self.failed += row.error is not None
        self.speculative += row.speculative

    def words(self) -> str:
        """The figures, for people."""
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.speculative} speculative, {self.done - self.failed - self.speculative} vanilla{failed}"


class Bars(Reporter):
    """A bar per phase, for terminals."""

    def __init__(self, console: Console) -> None:
        """Draws on `console`."""
        self._progress = Progress(
            TextColumn("{task.description:11s}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[words]}", markup=False),
            console=console,
        )
        self._bars: dict[Phase, tuple[TaskID, Tally]] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begin(self, phase: Phase, total: int) -> None:
        """Add the phase's bar."""
        bar = self._progress.add_task(_NAMES[phase], total=total, words="")
        self._bars[phase] = (bar, Tally(total))

    def seen(self, row: Row) -> None:
        """Move the row's bar."""
        bar, tally = self._bars[row.phase]
        tally.add(row)
        self._progress.update(bar, advance=1, words=tally.words())


class Lines(Reporter):
    """A line per quarter of a pass, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        """Prints on `console`."""
        self._console = console
        self._tallies: dict[Phase, Tally] = {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def begin(self, phase: Phase, total: int) -> None:
        """Count the phase from now on."""
        self._tallies[phase] = Tally(total)

    def seen(self, row: Row) -> None:
        """Count, and print at every quarter."""
        tally = self._tallies[row.phase]
        tally.add(row)
        quarter = tally.done * _LINES_PER_PHASE // tally.total
        if quarter > (tally.done - 1) * _LINES_PER_PHASE // tally.total:
            line = f"demo: {_NAMES[row.phase]}: {tally.done} of {tally.total}, {tally.words()}"
            self._console.print(line, markup=False, soft_wrap=True)


def reporter(console: Console) -> Reporter:
    """Bars on a terminal, else lines."""
    return Bars(console) if console.is_terminal else Lines(console)
