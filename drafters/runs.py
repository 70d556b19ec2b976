"""The folder of a run: nobody else works in it meanwhile."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from drafters.errors import DraftError


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Holds the folder, which is made where it is missing.

    Raises:
        DraftError: Another run is at work there, or it cannot be written.
    """
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise DraftError(
            f"{folder}: another run is at work there: wait for it, or name another folder"
        ) from error
    except OSError as error:
        full = error.errno == errno.ENOSPC
        raise DraftError(
            f"{folder}: cannot be written ({error}): {'free some space' if full else 'name another folder'}"
        ) from error
    try:
        yield
    finally:
        lock.release()
