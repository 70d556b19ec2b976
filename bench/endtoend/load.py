"""How requests arrive: so many clients that ask again at once, or on their own at a rate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from bench.results import OptionError

T = TypeVar("T")
A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class Load:
    """`clients` at once in a closed loop, or open arrivals at `share` of what two plain engines can do."""

    clients: int | None = None
    share: float | None = None

    @property
    def name(self) -> str:
        """As it stands in tables: `closed-2`, `open-0.5`."""
        return f"closed-{self.clients}" if self.clients is not None else f"open-{self.share:g}"


def parse_load(text: str) -> Load:
    """`closed-N` or `open-SHARE`.

    Raises:
        OptionError: It is neither.
    """
    kind, _, value = text.partition("-")
    try:
        if kind == "closed" and int(value) > 0:
            return Load(clients=int(value))
        if kind == "open" and float(value) > 0:
            return Load(share=float(value))
    except ValueError:
        pass
    raise OptionError(f"--loads: {text}: write closed-N (clients) or open-SHARE (of the plain engines' rate)")


async def closed(items: Sequence[T], clients: int, ask: Callable[[T], Awaitable[A]]) -> list[A]:
    """What is answered to `items`, asked in order by `clients` of whom each asks again once answered."""
    found: dict[int, A] = {}
    waiting = iter(list(enumerate(items)))

    async def client() -> None:
        for place, item in waiting:
            found[place] = await ask(item)

    async with _together() as group:
        for _ in range(clients):
            group.create_task(client())
    return [found[place] for place in range(len(items))]


async def opened(
    items: Sequence[T],
    arrivals_s: Sequence[float],
    ask: Callable[[T], Awaitable[A]],
    *,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> list[A]:
    """What is answered to `items`, each asked at its time, whoever is still waiting."""
    began = clock()
    tasks: list[asyncio.Task[A]] = []

    async def asked(item: T) -> A:
        return await ask(item)

    async with _together() as group:
        for item, at_s in zip(items, arrivals_s, strict=True):
            if (wait_s := began + at_s - clock()) > 0:
                await sleep(wait_s)
            tasks.append(group.create_task(asked(item)))
    return [task.result() for task in tasks]


@asynccontextmanager
async def _together() -> AsyncIterator[asyncio.TaskGroup]:
    """Tasks that end together; of their errors the first one is raised, as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as several:
        raise _first(several) from None


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def arrivals(count: int, rate: float, seed: str) -> list[float]:
    """Poisson arrivals: seconds from the first one, the same for the same seed.

    Raises:
        ValueError: The rate is not positive.
    """
    if rate <= 0:
        raise ValueError(f"rate: {rate} is not positive")
    rng = Random(seed)
    at = 0.0
    times = []
    for _ in range(count):
        times.append(at)
        at += rng.expovariate(rate)
    return times
