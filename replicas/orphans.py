"""Processes that must not outlive their parent."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent(signum: signal.Signals = signal.SIGKILL) -> None:
    """Ask the kernel to send `signum` to this process when its parent ends, however that ends.

    Linux only (prctl(2), PR_SET_PDEATHSIG); elsewhere it does nothing. A parent that is already gone when the
    call is made counts as ended; processes that multiprocessing started know who their parent was.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signum), 0, 0, 0)
    starter = multiprocessing.parent_process()
    if os.getppid() != parent or (starter is not None and not starter.is_alive()):
        os.kill(os.getpid(), signum)
