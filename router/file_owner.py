"""A name for the files of one router among those of its host, held by a lock."""

from __future__ import annotations

import fcntl
import os
import re
import socket
from pathlib import Path
from typing import Final

_MOST_SLOTS: Final = 256


def owned(path: Path) -> tuple[int, str]:
    """A lock that no other router of this host has, and the owner's name, `<host>-<number>`.

    The lock's file stands beside `path`; it is let go of when its descriptor is closed, or with the process.

    Raises:
        OSError: The folder cannot be written, has no locks, or has too many owners.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    host = re.sub("[^A-Za-z0-9.-]", "-", socket.gethostname()) or "localhost"
    for number in range(_MOST_SLOTS):
        owner = f"{host}-{number}"
        lock = os.open(
            path.with_name(f".{path.stem}-{owner}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644
        )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        except OSError:  # a file system without locks; every attempt tries again
            os.close(lock)
            raise
        else:
            return lock, owner
    raise OSError(f"{path}: {_MOST_SLOTS} routers of this host write there already")
