"""How background tasks go on, and how they are ended."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import pytest

from router.background import ended, repeated

pytestmark = pytest.mark.unit


async def test_a_task_that_swallows_a_cancellation_is_told_again() -> None:
    """As a store's client does when its own time limit and the cancellation come together."""
    rounds = 0

    async def stubborn() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            if rounds > 2:
                await asyncio.sleep(3600)
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)

    async def failing() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise ValueError("on the way out")

    tasks = [asyncio.create_task(stubborn()), asyncio.create_task(failing())]
    await asyncio.sleep(0)
    await ended(tasks, patience_s=0.01)
    assert rounds == 3
    assert all(task.done() for task in tasks)


async def test_nothing_to_end_is_no_trouble() -> None:
    """A router that never started has no tasks."""
    await ended([])


async def test_a_loop_goes_on_after_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    """The step is taken again after the pause; the same failure in a row is logged once."""
    found: list[Exception | None] = [None, ValueError("a"), ValueError("a"), ValueError("b"), None]
    found += [ValueError("b"), None]
    pauses: list[float] = []

    async def step() -> None:
        if not found:
            raise asyncio.CancelledError
        if (failure := found.pop(0)) is not None:
            raise failure

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    with caplog.at_level(logging.ERROR), pytest.raises(asyncio.CancelledError):
        await repeated("keys", step, 2.0, sleep)
    assert pauses == [2.0] * 7
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["a", "b", "b"]
    assert all(record.getMessage().startswith("keys: ") for record in caplog.records)
