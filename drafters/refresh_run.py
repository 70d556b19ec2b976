"""What a refresh keeps in its folder, so that it can go on; none of it stays after a verdict."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from drafters.captured import Found, read_captured
from drafters.errors import DraftError
from drafters.recording import Say
from drafters.training import CHECKPOINT

LEARNED: Final = "learned"
MEASURED: Final = "measured"
CANDIDATE: Final = "candidate"
ROWS: Final = "captured-rows.jsonl"
_RUN: Final = "run.json"
_VERDICT: Final = "verdict.json"


class RefreshRun:
    """The folder of one refresh."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.learned = folder / LEARNED
        self.measured = folder / MEASURED
        self.candidate = folder / CANDIDATE

    def rows(self, captured: Path, inputs: Mapping[str, Any], *, say: Say) -> Found:
        """The answers that an interrupted refresh of the same `inputs` began with, or those captured by now.

        Raises:
            DraftError: Nothing was captured, or the folder cannot be written.
        """
        given = json.loads(json.dumps(inputs))
        if _read(self.folder / _RUN) == given and (self.folder / ROWS).is_file():
            found = read_captured(self.folder / ROWS)
            say(f"refresh: going on with the {len(found.rows):,} captured answers it began with")
            return found
        found = read_captured(captured)
        self.forget()
        if found.skipped:
            say(f"refresh: {found.skipped} lines of {captured} are no captured answers: left out")
        _write(self.folder / ROWS, "\n".join(row.line() for row in found.rows))
        _write(self.folder / _RUN, json.dumps(given))
        say(f"refresh: {len(found.rows):,} captured answers")
        return found

    def check_space(self, needed: int) -> None:
        """Sees whether `needed` bytes of hidden states fit, less those that are there.

        Raises:
            DraftError: They do not.
        """
        held = sum(file.stat().st_size for part in (self.learned, self.measured) for file in part.glob("*"))
        free = shutil.disk_usage(self.folder).free
        if needed - held > free:
            raise DraftError(
                f"{self.folder}: hidden states of the captured answers take {needed / 1e9:.1f} GB, "
                f"{free / 1e9:.1f} GB are free: free some space, or lower --tokens"
            )

    def conclude(self, verdict: Mapping[str, Any]) -> None:
        """Writes the verdict, and forgets the rest.

        Raises:
            DraftError: The folder cannot be written.
        """
        _write(self.folder / _VERDICT, json.dumps(verdict, indent=2))
        self.forget()

    def forget(self) -> None:
        """Deletes what was captured, and what could be told from it."""
        for name in (_RUN, ROWS, CHECKPOINT):
            (self.folder / name).unlink(missing_ok=True)
        for part in (self.learned, self.measured, self.candidate):
            shutil.rmtree(part, ignore_errors=True)


def _read(file: Path) -> Mapping[str, Any] | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _write(file: Path, text: str) -> None:
    """Replaces a file as a whole; only its owner may read it."""
    partial = file.with_suffix(".partial")
    try:
        mode = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with os.fdopen(os.open(partial, mode, 0o600), "w", encoding="utf-8") as opened:
            opened.write(f"{text}\n")
        partial.replace(file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise DraftError(
            f"{file}: cannot be written ({error}): free some space or make the folder writable"
        ) from error
