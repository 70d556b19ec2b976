"""What a starting replica tells whoever waits for it, through a file: it has no terminal."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Literal, NamedTuple

VARIABLE = "SPECROUTE_PROGRESS_DIR"

State = Literal["starting", "ready", "failed"]


class Stage(NamedTuple):
    """Where a replica is in its start."""

    state: State
    what: str
    since: float


class Progress:
    """Writes the stage of one profile's start; silent where nobody asked for it."""

    def __init__(self, file: Path | None) -> None:
        self._file = file

    @classmethod
    def from_environment(cls, profile: str) -> Progress:
        """The progress file of `profile`, if the environment names a folder for them."""
        folder = os.environ.get(VARIABLE)
        return cls(Path(folder) / f"{profile}.json" if folder else None)

    def stage(self, what: str) -> None:
        """Say what is being done now."""
        self._write(Stage("starting", what, time.time()))

    def ready(self) -> None:
        """Say that the engine answers."""
        self._write(Stage("ready", "ready", time.time()))

    def failed(self, why: str) -> None:
        """Say why the engine does not start."""
        self._write(Stage("failed", why, time.time()))

    def _write(self, stage: Stage) -> None:
        if self._file is None:
            return
        scratch = self._file.with_suffix(f".{os.getpid()}")
        try:
            scratch.write_text(json.dumps(stage), encoding="utf-8")
            scratch.replace(self._file)
        except OSError:
            return  # nobody is waiting any more


def read_progress(folder: Path) -> dict[str, Stage]:
    """The stages of all profiles that wrote one, by profile."""
    stages = {}
    for file in folder.glob("*.json"):
        try:
            stages[file.stem] = Stage(*json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            continue
    return stages
