"""One real engine in a process of its own, spoken to over a socket.

vLLM takes its thread binding from the environment and an engine cannot share a process with one bound to
other cores, so tests start this file once per engine: `python engine_host.py SOCKET PROFILE MODEL_FOLDER`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

import psutil

from policies.cost import StepLoad
from replicas.engine import VllmEngine
from replicas.orphans import end_with_parent
from replicas.profiles import ModelSpec, Profile
from replicas.quiet import Quiet
from replicas.rehearsal import Rehearsal

MODEL = ModelSpec(max_model_len=2048)


class Host:
    """Plays the commands of the test process on one engine."""

    def __init__(self, engine: VllmEngine, connection: Connection[Any, Any]) -> None:
        self._engine = engine
        self._connection = connection
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._passes: list[tuple[StepLoad, float]] = []
        engine._passes._hook = self._note_pass

    def _note_pass(self, load: StepLoad, seconds: float) -> None:
        self._passes.append((load, seconds))
        self._engine.steps.record(load, seconds)

    async def run(self) -> None:
        """Obey until the connection closes."""
        loop = asyncio.get_running_loop()
        commands: asyncio.Queue[Any] = asyncio.Queue()
        threading.Thread(
            target=self._read,
            args=(lambda c: loop.call_soon_threadsafe(commands.put_nowait, c),),
            daemon=True,
        ).start()
        while (command := await commands.get()) is not None:
            number, name, argument = command
            if name == "quit":
                return
            if name == "cancel":
                if task := self._tasks.get(argument):
                    task.cancel()
            else:
                self._tasks[number] = asyncio.create_task(self._play(number, name, argument))

    def _read(self, put: Callable[[Any], object]) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                put(self._connection.recv())
        put(None)

    async def _play(self, number: int, name: str, argument: Any) -> None:
        try:
            if name == "serve":
                async for frame in self._engine.serve(argument):
                    self._connection.send((number, "item", frame))
            else:
                self._connection.send((number, "item", await getattr(self, name)()))
            self._connection.send((number, "end", None))
        except asyncio.CancelledError:
            self._connection.send((number, "cancelled", None))
        except Exception as error:  # noqa: BLE001 - every failure is for the test to judge
            self._connection.send((number, "error", error))
        finally:
            del self._tasks[number]

    async def state(self) -> dict[str, Any]:
        """What the engine and its processes are doing."""
        return {
            "load": self._engine.load(),
            "unfinished": self._engine._llm.get_num_unfinished_requests(),
            "processes": {
                process.pid: process.name() for process in psutil.Process().children(recursive=True)
            },
            "tasks": len(asyncio.all_tasks()),
        }

    async def passes(self) -> tuple[list[tuple[StepLoad, float]], list[float], int]:
        """The records since the last call, and the moments and refusals of all so far."""
        taken, self._passes = self._passes, []
        return taken, self._engine.steps.moments.to_list(), self._engine.steps.refused

    async def rehearse(self) -> list[float]:
        """The moments of what the engine timed by itself, with hardly a pause."""
        with tempfile.TemporaryDirectory() as folder:
            quiet = Quiet(Path(folder))
            os.utime(Path(folder) / "asked", (0, 0))
            rehearsal = Rehearsal(
                self._engine, self._engine._profile, quiet, pause=lambda _: asyncio.sleep(0.05)
            )
            await rehearsal.run()
        return rehearsal.moments.to_list()

    async def check_health(self) -> None:
        """As Serve does."""
        await self._engine.check_health()

    async def shutdown(self) -> list[int]:
        """End the engine; returns the processes that are still there."""
        await asyncio.to_thread(self._engine.shutdown)
        return [process.pid for process in psutil.Process().children(recursive=True)]


async def main() -> None:
    socket, profile, folder = sys.argv[1:]
    end_with_parent()
    with Client(socket) as connection:
        try:
            engine = await VllmEngine.start(
                Profile.model_validate_json(profile), MODEL, folder=str(Path(folder)), on_cpu=True
            )
            await engine.warm_up()
        except BaseException as error:
            connection.send((0, "error", RuntimeError(f"{type(error).__name__}: {error}")))
            raise
        connection.send((0, "item", os.getpid()))
        connection.send((0, "end", None))
        try:
            await Host(engine, connection).run()
        finally:
            await asyncio.to_thread(engine.shutdown)


if __name__ == "__main__":
    asyncio.run(main())
