"""How much processor time the processes of a side have taken."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil


def processor_seconds(roots: Mapping[str, int]) -> dict[str, float]:
    """The time so far of each of these processes, named by its pid, and of all below it.

    Processes and threads that have ended do not count.
    """
    parents = {process.pid: process.info["ppid"] for process in psutil.process_iter(["ppid"])}
    names = {pid: name for name, pid in roots.items()}
    taken = dict.fromkeys(roots, 0.0)
    for pid in parents:
        above = pid
        while above not in names and above in parents:
            above = parents[above]
        if above in names:
            taken[names[above]] += _of_process(pid)
    return taken


def _of_process(pid: int) -> float:
    """From the scheduler's account of each thread, in ns (Linux), or from the system's, in ticks of 10 ms."""
    nanoseconds = 0
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):  # one that ended meanwhile
                nanoseconds += int((thread / "schedstat").read_bytes().split()[0])
    if nanoseconds:
        return nanoseconds / 1e9
    with suppress(psutil.Error):
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)
    return 0.0
