"""How background tasks are ended."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from router.background import ended

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
