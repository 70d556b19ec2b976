"""What has been measured so far, on disk: a run that was stopped goes on with the next prompt.

JSON Lines: a head that says which run this is, then a line for each prompt with the answers of all arms. A
last line that was cut short does not count.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from bench.methods.asking import Told
from bench.results import BenchError

_FORMAT: Final = "specroute/methods-journal/v1"


class Journal:
    """One run's. `rows` are the finished prompts: `prompt`, `family`, `answers` and `gaps` by arm."""

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        """Read what is there, and make it where nothing is.

        Raises:
            BenchError: It is another run's, or cannot be read or written.
        """
        self._path = path
        self.rows: dict[str, dict[str, Any]] = {}
        head = {"format": _FORMAT, **settings}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            finished = path.read_text("utf-8").rpartition("\n")[0] if path.exists() else ""
            entries = [json.loads(line) for line in finished.split("\n") if line] or [head]
            scratch = path.with_suffix(".new")
            scratch.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
            scratch.replace(path)
        except (OSError, ValueError) as error:
            raise BenchError(f"{path}: {error}: name another folder with --out") from error
        if different := [key for key in head if entries[0].get(key) != head[key]]:
            raise BenchError(f"{path}: of a run with other {different[0]}: name another folder with --out")
        for entry in entries[1:]:
            self.rows[entry["prompt"]] = entry

    def add(
        self, prompt: str, family: str, answers: Mapping[str, Told], gaps: Mapping[str, float | None]
    ) -> None:
        """Keep a finished prompt; `answers` and `gaps` (to plain decoding) are by the arm's name.

        Raises:
            BenchError: It cannot be written.
        """
        kept = {name: {**asdict(told), "tokens": len(told.tokens)} for name, told in answers.items()}
        entry = {"prompt": prompt, "family": family, "answers": kept, "gaps": dict(gaps)}
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise BenchError(f"{self._path}: {error}: make room, and run the same command again") from error
        self.rows[prompt] = entry
