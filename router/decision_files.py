"""Reads the files of decision logs, of several routers and rotated, in the order of the decisions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ValidationError

from policies.off_policy import DecisionRecord


class _When(BaseModel):
    """Of a line, what puts it in order."""

    decided_at: float


class _Place(NamedTuple):
    decided_at: float
    file: int
    offset: int


class DecisionFiles:
    """The records of some files. Reads twice, and holds one record at a time: logs may be large."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self.skipped = 0
        """Lines that are no record, so far: of another version, or torn by a full disk."""

    def records(self) -> Iterator[DecisionRecord]:
        """The records of all files, the earliest decision first.

        Raises:
            OSError: A file cannot be read.
        """
        with ExitStack() as stack:
            files = [stack.enter_context(path.open("rb")) for path in self._paths]
            places: list[_Place] = []
            for number, file in enumerate(files):
                offset = 0
                for line in file:
                    try:
                        places.append(_Place(_When.model_validate_json(line).decided_at, number, offset))
                    except ValidationError:
                        self.skipped += bool(line.strip())
                    offset += len(line)
            for place in sorted(places):
                files[place.file].seek(place.offset)
                try:
                    record = DecisionRecord.model_validate_json(files[place.file].readline())
                except ValidationError:
                    self.skipped += 1
                else:
                    yield record
