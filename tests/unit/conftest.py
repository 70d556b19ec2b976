"""A clock for tests of time limits that no busy machine disturbs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest


@pytest.fixture
async def skipping(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop's time passes only when nothing else is left to do, and then at once.

    So a limit is reached exactly by what waits for ever, however long the rest takes, and nobody sleeps. Not for
    tests that wait for threads: they are not seen to be at work.
    """
    loop: Any = asyncio.get_running_loop()
    select = loop._selector.select
    now_s = loop.time()

    def skip(timeout_s: float | None) -> Any:
        nonlocal now_s
        found = select(0)
        if found or timeout_s == 0:
            return found
        if timeout_s is None:
            return select(None)
        now_s += timeout_s
        return found

    monkeypatch.setattr(loop, "time", lambda: now_s)
    monkeypatch.setattr(loop._selector, "select", skip)
