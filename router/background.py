"""Ending background tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

_PATIENCE_S = 0.5


async def ended(tasks: Collection[asyncio.Task[Any]], *, patience_s: float = _PATIENCE_S) -> None:
    """Cancel tasks until all of them have ended, whatever they end with.

    Once is not always enough: a client library may take a cancellation for its own time limit and swallow it,
    and a loop would then go on for ever. Such a task is told again every `patience_s` seconds.
    """
    waiting = set(tasks)
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=patience_s)
    await asyncio.gather(*tasks, return_exceptions=True)
