"""The files of a capture folder: only their owner may read them, and the oldest go when there are many."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

from router.capture_settings import CaptureSettings
from router.file_owner import owned

_PARTS: Final = 16
"""A file is closed at this part of what the folder may hold."""
_PATTERN: Final = "captured-*.jsonl"


class CaptureFiles:
    """Lines in files of this router's own: `captured-<host>-<number>-<file>.jsonl`.

    The bounds are the folder's, whoever wrote into it. They hold at all times but for what several routers
    add at the same moment, a sixteenth each.
    """

    def __init__(self, folder: Path, settings: CaptureSettings) -> None:
        self._folder = folder
        self._most = (settings.max_rows, settings.max_bytes)
        self._lock: int | None = None
        self._owner = ""
        self._file: int | None = None
        self._path: Path | None = None
        self._rows = self._bytes = 0
        self._counted: dict[tuple[str, int], int] = {}

    def write(self, line: str) -> None:
        """Append one line, whole or not at all. Raises OSError."""
        data = line.encode("utf-8", "replace") + b"\n"
        if self._file is not None and (
            self._rows + 1 > self._most[0] // _PARTS or self._bytes + len(data) > self._most[1] // _PARTS
        ):
            self._end_file()
        file = self._file if self._file is not None else self._begin_file()
        try:
            _write_whole(file, data)
        except OSError:
            with suppress(OSError):
                os.ftruncate(file, self._bytes)
            self._end_file()
            raise
        self._rows += 1
        self._bytes += len(data)

    def close(self) -> None:
        """Let go of the files."""
        self._end_file()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _begin_file(self) -> int:
        if self._lock is None:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock, self._owner = owned(self._folder / "captured.jsonl")
        self._make_room()
        start = f"captured-{self._owner}-"
        numbers = [
            int(number)
            for path in self._folder.glob(f"{start}*.jsonl")
            if (number := path.stem.removeprefix(start)).isdecimal()
        ]
        self._path = self._folder / f"{start}{1 + max(numbers, default=0):06d}.jsonl"
        self._file = os.open(
            self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        self._rows = self._bytes = 0
        return self._file

    def _end_file(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                os.close(self._file)
            self._file = None

    def _make_room(self) -> None:
        """Delete the oldest files until one more fits."""
        files = sorted((path.stat().st_mtime_ns, path) for path in self._folder.glob(_PATTERN))
        rows, size = (most - most // _PARTS for most in self._most)
        for _, path in reversed(files):
            rows -= self._rows_of(path)
            size -= path.stat().st_size
            if rows < 0 or size < 0:
                path.unlink(missing_ok=True)

    def _rows_of(self, path: Path) -> int:
        key = (path.name, path.stat().st_size)
        if key not in self._counted:
            with path.open("rb") as file:
                self._counted[key] = sum(1 for _ in file)
        return self._counted[key]


def folder_problem(folder: Path) -> str | None:
    """Why nothing could be captured there, in one line; None where it could. Leaves nothing behind."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent  # what is missing is made when there is something to write
    try:
        with TemporaryFile(dir=there):
            return None
    except OSError as error:
        return (
            f"{folder}: cannot be written ({error.strerror or error}): "
            "make it writable for the service's user, or name another folder"
        )


def _write_whole(file: int, data: bytes) -> None:
    if (written := os.write(file, data)) < len(data):
        raise OSError(errno.ENOSPC, f"only {written} of {len(data)} bytes fit")
