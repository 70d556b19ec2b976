"""Waiting for what others do in their own time, on machines that are slow, busy, or stand still for seconds.

Nobody is judged by how long a thing took: limits only tell "late" from "never". What a test wants to say about
a time it prints.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import psutil
from redis import RedisError

PATIENCE_S = 180.0
"""Far longer than anything takes that is waited for here."""
ANSWER_S = 180.0
"""How long clients wait for an answer."""
PASSING = (httpx.HTTPError, psutil.Error, RedisError)
"""What a condition meets while what it asks is taken apart or not yet there: it does not hold yet."""


def until(condition: Callable[[], object], limit_s: float = PATIENCE_S, every_s: float = 0.05) -> float:
    """Wait until `condition` is true; how long it took, in seconds.

    A condition that raises one of `PASSING` is not true yet. Raises AssertionError after `limit_s`, with the last
    answer or error.
    """
    began = time.monotonic()
    while True:
        answer: object
        try:
            if answer := condition():
                return time.monotonic() - began
        except PASSING as error:
            answer = error
        _complain_after(began, limit_s, answer)
        time.sleep(every_s)


async def until_async(
    condition: Callable[[], object] | Callable[[], Awaitable[object]],
    limit_s: float = PATIENCE_S,
    every_s: float = 0.05,
) -> float:
    """The same for a test with an event loop, and for conditions that are coroutine functions too."""
    began = time.monotonic()
    while True:
        answer: Any
        try:
            answer = condition()
            if inspect.isawaitable(answer):
                answer = await answer
            if answer:
                return time.monotonic() - began
        except PASSING as error:
            answer = error
        _complain_after(began, limit_s, answer)
        await asyncio.sleep(every_s)


def _complain_after(began: float, limit_s: float, answer: object) -> None:
    assert time.monotonic() - began < limit_s, f"not within {limit_s:g} s; at last {answer!r}"
