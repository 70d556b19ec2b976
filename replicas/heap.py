"""Memory that was freed goes back to the system.

The C library keeps freed memory that lies below something still in use. Requests that overlap leave such gaps
all over a heap, so that a process which holds no more than an hour ago still grows (decision 0026).
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Final

EVERY_S: Final = 60.0


def trimmer() -> Callable[[], None] | None:
    """What calls `malloc_trim(0)`: it gives back every page that is wholly free. None where libc lacks it."""
    try:
        found = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return None
    found.argtypes = [ctypes.c_size_t]
    found.restype = ctypes.c_int

    def trim() -> None:
        found(0)  # the interpreter runs on meanwhile: ctypes releases its lock

    return trim


def trim_regularly(
    trim: Callable[[], None] | None, *, every_s: float = EVERY_S, end: threading.Event | None = None
) -> threading.Thread | None:
    """Call `trim` every `every_s` seconds, in a thread that ends with the process or when `end` is set."""
    if trim is None:
        return None
    over = end or threading.Event()

    def work() -> None:
        while not over.wait(every_s):
            trim()

    thread = threading.Thread(target=work, name="trim-heap", daemon=True)
    thread.start()
    return thread
