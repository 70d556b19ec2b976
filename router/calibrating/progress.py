"""How far a calibration is: a bar on a terminal, else a line now and then. On standard error."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from policies.calibrating import Block

_LINES: Final = 10


class Screen(AbstractContextManager["Screen"]):
    """Is told of every block that ended."""

    def __init__(self, console: Console, total: int) -> None:
        """For `total` blocks, on `console`."""
        self._console = console
        self._total = total
        self._done = self._failed = 0
        self._bar = (
            Progress(
                TextColumn("calibrating"),
                BarColumn(bar_width=28),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.description}", markup=False),
                console=console,
            )
            if console.is_terminal
            else None
        )
        self._task = self._bar.add_task("", total=total) if self._bar else None

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def seen(self, block: Block, problem: str | None) -> None:
        """Count a block; `problem` says what went wrong with it."""
        self._done += 1
        self._failed += problem is not None
        side = block.side
        failed = f", {self._failed} failed" if self._failed else ""
        if self._bar and self._task is not None:
            words = f"{side.profile} k={side.k} batch={side.batch}{failed}"
            self._bar.update(self._task, advance=1, description=words)
        elif self._done * _LINES // self._total > (self._done - 1) * _LINES // self._total:
            line = f"calibrate: {self._done} of {self._total}{failed}"
            self._console.print(line, markup=False, soft_wrap=True)
