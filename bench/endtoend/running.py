"""The fleets that run: as many as memory holds, the one that rested longest making room."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, Protocol, Self

import psutil

from bench.endtoend.sides import Fleet
from bench.results import Say
from bench.serving import Serving

_GIB_PER_FLEET: Final = 7.0
"""Two engines of the embedded model, their router and its Ray: 6.5 by measurement."""


class Service(Protocol):
    """What is asked of a service here; `bench.serving.Serving` is one."""

    @property
    def url(self) -> str:
        """Where it answers."""
        ...

    def start(self) -> None:
        """Begin to run."""

    def wait_until_ready(self) -> Serving:
        """Return once it answers."""
        ...

    def wait_until_rehearsed(self) -> bool:
        """Return once its engines have timed their passes, or do not come to it; whether they have."""
        ...

    def end(self) -> None:
        """Run no longer."""


def resident() -> int:
    """How many fleets fit into the memory that is free now, at least one."""
    return max(1, int(psutil.virtual_memory().available / 2**30 / _GIB_PER_FLEET))


class Fleets:
    """Starts fleets as they are asked for. Use as an async context manager, which ends them all."""

    def __init__(
        self,
        fleets: Mapping[str, Fleet],
        folder: Path,
        *,
        most: int,
        warm: Callable[[Fleet, str], Awaitable[None]],
        say: Say,
        make: Callable[[Path, Fleet], Service] | None = None,
    ) -> None:
        """`warm` is called with every fleet that was started and its URL; `make` is for tests."""
        self._fleets = fleets
        self._folder = folder
        self._most = most
        self._warm = warm
        self._say = say
        self._make = make or _serving
        self._running: dict[str, Service] = {}  # ordered: the one that was asked for last stands last

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for name in list(self._running):
            self.end(name)

    async def url(self, name: str) -> str:
        """Where a fleet answers, once it does; a cold one is made anew.

        Raises:
            BenchError: It does not start.
        """
        fleet = self._fleets[name]
        if fleet.cold:
            self.end(name)
            shutil.rmtree(self._folder / name, ignore_errors=True)
        elif name in self._running:
            self._running[name] = self._running.pop(name)
            return self._running[name].url
        while len(self._running) >= self._most:
            self.end(next(iter(self._running)))
        self._say(f"{name}: starting its engines")
        service = self._make(self._folder / name, fleet)
        self._running[name] = service
        service.start()
        service.wait_until_ready()
        if not service.wait_until_rehearsed():
            self._say(f"{name}: its engines have not timed their passes: it knows less of them")
        await self._warm(fleet, service.url)
        return service.url

    def end(self, name: str) -> None:
        """End a fleet, if it runs. What it learned stays in its folder."""
        if (service := self._running.pop(name, None)) is not None:
            service.end()


def _serving(folder: Path, fleet: Fleet) -> Service:
    return Serving(folder, fleet.args, fleet.policy)
