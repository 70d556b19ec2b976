"""What has been measured so far, on disk: a run that was stopped goes on with the next block.

JSON Lines: a head that says which run this is, and then what was found out, in order. A last line that was
cut short does not count.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench.endtoend.answers import Answer, to_row
from bench.results import BenchError

_FORMAT: Final = "specroute/bench-journal/v1"


class Journal:
    """One run's. `blocks` are the finished ones by key: their seconds and answers."""

    def __init__(self, path: Path, fingerprint: str) -> None:
        """Read what is there, and make it where nothing is.

        Raises:
            BenchError: It is another run's, or cannot be read or written.
        """
        self._path = path
        self.blocks: dict[str, tuple[float, list[Answer]]] = {}
        self.notes: dict[str, Any] = {}
        head = {"format": _FORMAT, "fingerprint": fingerprint}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = path.read_text("utf-8").splitlines(keepends=True) if path.exists() else []
            entries = [json.loads(line) for line in lines if line.endswith("\n")] or [head]
            path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
        except (OSError, ValueError) as error:
            raise BenchError(f"{path}: {error}: name another folder with --work") from error
        if entries[0] != head:
            raise BenchError(f"{path}: of a run with other settings: name another folder with --work")
        for entry in entries[1:]:
            self._take(entry)

    def add(self, key: str, seconds: float, answers: Sequence[Answer]) -> None:
        """Keep a finished block."""
        self._append({"block": key, "seconds": seconds, "answers": [to_row(answer) for answer in answers]})

    def note(self, name: str, value: Any) -> None:
        """Keep something else that was found out."""
        self._append({"note": name, "value": value})

    def _append(self, entry: Mapping[str, Any]) -> None:
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise BenchError(
                f"{self._path}: {error.strerror or error}: make room, and run it again"
            ) from error
        self._take(entry)

    def _take(self, entry: Mapping[str, Any]) -> None:
        if "note" in entry:
            self.notes[entry["note"]] = entry["value"]
        else:
            answers = [Answer(**row) for row in entry["answers"]]
            self.blocks[entry["block"]] = (entry["seconds"], answers)
