"""What a calibration has measured so far, on disk: an interrupted one goes on where it was.

JSON Lines. The first line says of which calibration (`fingerprint`), each further one has a finished block
with its answers, or what the service said of its step times. The end of a file that was cut short is left
out; everything before it counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from policies.calibrating import Measured, Side

_FORMAT: Final = "specroute/calibration-journal/v1"


class JournalError(Exception):
    """A journal that cannot be used, or not be written; one line that says what to do."""


class Journal:
    """The journal of one calibration. Use as a context manager; `done` are the answers by block."""

    def __init__(self, path: Path, fingerprint: str, *, fresh: bool = False) -> None:
        """Read what is there; a `fresh` one forgets it.

        Raises:
            JournalError: It is another calibration's, or nothing can be read or written there.
        """
        self._path = path
        self.done: dict[int, list[Measured]] = {}
        self.costs: list[Mapping[str, Any]] = []
        try:
            text = path.read_text("utf-8") if path.exists() and not fresh else ""
            kept = self._read(text, fingerprint)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", encoding="utf-8") as file:  # without what was cut short
                file.writelines(kept or [_line({"format": _FORMAT, "fingerprint": fingerprint})])
        except OSError as error:
            raise self._unwritable(error) from None

    def add(self, block: int, answers: Sequence[Measured]) -> None:
        """Keep a finished block.

        Raises:
            JournalError: It cannot be written.
        """
        self._append({"block": block, "answers": [asdict(answer) for answer in answers]})
        self.done[block] = list(answers)

    def add_cost(self, cost: Mapping[str, Any]) -> None:
        """Keep what the service says of its step times by now.

        Raises:
            JournalError: It cannot be written.
        """
        self._append({"cost": cost})
        self.costs.append(cost)

    def _append(self, entry: Mapping[str, Any]) -> None:
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_line(entry))
        except OSError as error:
            raise self._unwritable(error) from None

    def _read(self, text: str, fingerprint: str) -> list[str]:
        """Take in what can be read; the lines to keep."""
        kept: list[str] = []
        for line in text.splitlines(keepends=True):
            try:
                entry = json.loads(line) if line.endswith("\n") else None
                if not kept:
                    self._check(entry, fingerprint)
                elif entry is not None and "cost" in entry:
                    self.costs.append(entry["cost"])
                elif entry is not None:
                    self.done[int(entry["block"])] = [_measured(answer) for answer in entry["answers"]]
            except (ValueError, KeyError, TypeError, AttributeError):
                if not kept:
                    raise self._foreign() from None
                break
            if entry is None:
                break
            kept.append(line)
        return kept

    def _check(self, head: Any, fingerprint: str) -> None:
        if head is not None and (head["format"], head["fingerprint"]) != (_FORMAT, fingerprint):
            raise self._foreign()

    def _foreign(self) -> JournalError:
        return JournalError(
            f"{self._path}: of a calibration with other prompts, options or pools: name another --output, "
            "or say --fresh to begin anew"
        )

    def _unwritable(self, error: OSError) -> JournalError:
        return JournalError(
            f"{self._path}: {error.strerror or error}; {len(self.done)} finished measurements are kept: "
            "make room or name another --output, and run the same command again"
        )


def _measured(entry: Mapping[str, Any]) -> Measured:
    values = dict(entry)
    values["side"] = Side(*values["side"])
    values["drafted"], values["accepted"] = tuple(values["drafted"]), tuple(values["accepted"])
    return Measured(**values)


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"
