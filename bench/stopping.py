"""How benches end: what they started ends with them, whatever ends them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Final

_WITH_PARENT: Final = (
    "import ctypes, os, sys; "
    f"ctypes.CDLL(None).prctl(1, {signal.SIGTERM.value}); "  # PR_SET_PDEATHSIG
    "os.getppid() == int(sys.argv[1]) or sys.exit(1); "
    "os.execvp(sys.argv[2], sys.argv[2:])"
)


def stop_on_sigterm() -> None:
    """SIGTERM stops this process as Ctrl-C does, once: `timeout` sends two, and ending takes its time."""
    signal.signal(signal.SIGTERM, _interrupt)


def ending_with(parent: int, command: Sequence[str]) -> list[str]:
    """The command, which gets SIGTERM when the process `parent` that starts it is gone, even by SIGKILL.

    Linux only (prctl(2), PR_SET_PDEATHSIG); elsewhere it is the command as it stands.
    """
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-ISc", _WITH_PARENT, str(parent), *command]


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt
