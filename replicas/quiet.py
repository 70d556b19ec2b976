"""Whether a machine is quiet: no engine on it works for a client, starts, or rehearses.

Engines of one machine may share cores, memory and GPUs. What one of them does on its own account would slow
down the others' clients, and be slowed down by them, so it waits for a moment when nobody else does anything.
Replicas are processes that know nothing of each other; they meet in a folder of the machine's.
"""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_log = logging.getLogger(__name__)

_QUIET_S: Final = 1.5
"""After a request, or a sign of one that goes on. Status is asked about every second."""


class Quiet:
    """One replica's view of its machine, and its own signs to the others.

    Without a folder, because it cannot be made or is somebody else's, it is never quiet.
    """

    def __init__(self, folder: Path | None = None) -> None:
        folder = folder or Path(tempfile.gettempdir()) / f"specroute-{os.getuid()}"
        self._asked: Path | None = None
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                raise PermissionError(f"{folder} belongs to somebody else")
            self._asked, self._lock = folder / "asked", folder / "lock"
            self._asked.touch()
            self._lock.touch()
        except OSError as error:
            _log.warning("engines will not rehearse: %s", error)
            self._asked = None

    def disturb(self) -> None:
        """Tell the others that this replica works for a client."""
        if self._asked is not None:
            try:
                os.utime(self._asked)
            except OSError:  # somebody cleaned up: nobody is told, and nobody sees it quiet any more
                self._asked = None

    def now(self) -> bool:
        """Whether no replica has worked for a client of late."""
        if self._asked is None:
            return False
        try:
            return abs(time.time() - self._asked.stat().st_mtime) > _QUIET_S
        except OSError:
            return False

    @contextmanager
    def starting(self) -> Iterator[None]:
        """While an engine starts; several may."""
        with self._locked(fcntl.LOCK_SH):
            yield

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """While no other starts or is alone; false where one does."""
        with self._locked(fcntl.LOCK_EX) as locked:
            yield locked

    @contextmanager
    def _locked(self, kind: int) -> Iterator[bool]:
        if self._asked is None:
            yield False
            return
        try:
            file = self._lock.open("r+b")
        except OSError:
            yield False
            return
        with file:  # closing it unlocks, as does the end of the process
            try:
                fcntl.flock(file, kind | fcntl.LOCK_NB)
            except OSError:
                yield False
            else:
                yield True
