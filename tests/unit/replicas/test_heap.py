"""Freed memory is given back, again and again, where libc can."""

from __future__ import annotations

import sys
import threading

import pytest

from replicas.heap import trim_regularly, trimmer

pytestmark = pytest.mark.unit


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc_trim")
def test_the_libc_of_linux_trims() -> None:
    """It is found and can be called."""
    trim = trimmer()
    assert trim is not None
    trim()


def test_trimming_goes_on_until_it_is_ended() -> None:
    """More than once; the thread ends when told."""
    end, thrice = threading.Event(), threading.Semaphore(0)
    thread = trim_regularly(thrice.release, every_s=0.001, end=end)
    assert thread is not None
    assert thread.daemon
    assert all(thrice.acquire(timeout=60) for _ in range(3))
    end.set()
    thread.join(timeout=60)
    assert not thread.is_alive()


def test_without_a_trimming_libc_nothing_is_begun() -> None:
    """As musl is."""
    assert trim_regularly(None) is None
