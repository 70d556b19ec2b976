"""Sees to it that nothing of a run outlives it, even when the run is killed.

The launcher starts the warden first and holds a pipe to it. When the pipe closes, for whatever reason, the
warden ends every process that carries the run's mark in its environment. Linux only (it reads /proc).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_POLITE_S = 3.0
_PAUSE_S = 0.1
_SWEEPS = 100


class Warden:
    """The launcher's side: starts the warden process, and waits for its sweep at the end."""

    def __init__(self, variable: str, mark: str, folder: Path) -> None:
        read_end, self._write_end = os.pipe()
        environment = {name: value for name, value in os.environ.items() if name != variable}
        self._process = subprocess.Popen(
            [sys.executable, "-ISc", _BOOT, __file__, variable, mark, str(folder), str(read_end)],
            env=environment,
            pass_fds=[read_end],
            start_new_session=True,  # a Ctrl-C for the launcher must not end its warden
            stdin=subprocess.DEVNULL,
        )
        os.close(read_end)

    def sweep(self, timeout_s: float = 30.0) -> None:
        """Let the warden end what is left of the run, and wait for it."""
        if self._write_end < 0:
            return
        os.close(self._write_end)
        self._write_end = -1
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()


# The warden needs the standard library only; -I -S keeps its start at a few milliseconds.
_BOOT = "import sys, runpy; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"


def _marked(needle: bytes) -> Iterator[int]:
    """Processes whose environment holds `needle`."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes()
            state = (
                (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
            )
        except (OSError, IndexError):
            continue
        if state != "Z" and needle in environment.split(b"\0"):
            yield int(entry.name)


def _end_all(needle: bytes) -> None:
    """SIGTERM first, which lets the store write what it has; SIGKILL for whatever remains or is born late."""
    polite_until = time.monotonic() + _POLITE_S
    asked: set[int] = set()
    for _ in range(_SWEEPS):
        found = list(_marked(needle))
        if not found:
            return
        for pid in found:
            rude = time.monotonic() > polite_until
            if rude or pid not in asked:
                asked.add(pid)
                try:
                    os.kill(pid, signal.SIGKILL if rude else signal.SIGTERM)
                except ProcessLookupError:
                    continue
        time.sleep(_PAUSE_S)


def _main() -> None:
    variable, mark, folder, read_end = sys.argv[1:]
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    while True:  # until the launcher closes its end or dies; nothing is ever written
        if not os.read(int(read_end), 1):
            break
    # Not the launcher itself: /proc shows the environment a process began with, and it marked itself later.
    _end_all(f"{variable}={mark}".encode())
    if not (Path(folder) / "keep").exists():
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _main()
