"""Background tasks: going on whatever happens, and ending."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Any

_log = logging.getLogger(__name__)

_PATIENCE_S = 0.5


async def repeated(
    what: str,
    step: Callable[[], Awaitable[object]],
    interval_s: float,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:
    """Take `step` for as long as the task lives, and rest `interval_s` after each.

    A step that fails is logged, and the next one is taken all the same: a loop that ended would leave things
    as they are for ever, and nobody would notice. The same failure again and again is logged once.
    """
    logged = ""
    while True:
        try:
            await step()
        except Exception as error:  # noqa: BLE001 - see above
            told = f"{type(error).__name__}: {error}"
            if told != logged:
                _log.exception("%s: unexpected failure; it is tried again", what)
            logged = told
        else:
            logged = ""
        await sleep(interval_s)


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
