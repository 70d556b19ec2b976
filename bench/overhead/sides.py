"""Who is compared, and how each is started: processes of its own on ports of this machine.

`direct` is the engine that pretends, alone behind uvicorn. `vllm-router` and `litellm` stand in front of that
same engine and ask it over HTTP. `bare-serve` and `specroute` have an engine that pretends within, in a
process of Ray Serve, at the same step time: that is how specroute runs engines.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from bench.overhead.client import AnswerError, ask_all
from bench.overhead.engine import MODEL
from bench.overhead.peers import PINNED, installed
from bench.stopping import ending_with

DIRECT: Final = "direct"
BARE: Final = "bare-serve"
OURS: Final = "specroute"
SIDES: Final = (DIRECT, BARE, OURS, *PINNED)

_START_S: Final = 240.0
_END_S: Final = 60.0
_MOST_CLIENTS: Final = 256
_POLICY: Final = {
    "apiVersion": "specroute/v1",
    "kind": "RoutingPolicy",
    "metadata": {"name": "overhead"},
    # Of one tenant, all clients.
    "spec": {"mode": "adaptive", "limits": {"max_concurrency": 2 * _MOST_CLIENTS}},
}


@dataclass(frozen=True, slots=True)
class Started:
    """One side that answers."""

    name: str
    port: int
    process: subprocess.Popen[bytes]

    @property
    def engine(self) -> str:
        """The side whose processes take part in its answers, beside its own."""
        return DIRECT if self.name in PINNED else self.name


class StartError(Exception):
    """A side that did not answer in time; it says what it last said."""


def available(names: Iterable[str], peers: Path | None) -> tuple[list[str], list[str]]:
    """These sides, `direct` first, and those of them that are not installed below `peers`."""
    wanted = [name for name in SIDES if name in names or name == DIRECT]
    missing = [
        name
        for name in wanted
        if name in PINNED and (peers is None or not installed(peers.absolute() / name, name))
    ]
    return [name for name in wanted if name not in missing], missing


@asynccontextmanager
async def running(
    names: Sequence[str], folder: Path, *, peers: Path | None, step_ms: float
) -> AsyncIterator[dict[str, Started]]:
    """These sides while they answer, started one after the other; their files are in `folder`.

    A peer that does not come up is not among them.

    Raises:
        StartError: Another side did not come up.
    """
    started: dict[str, Started] = {}
    try:
        for name in names:
            place = folder / name
            place.mkdir()
            port, engine = free_port(), started[DIRECT].port if started else 0
            command = _command(name, place, port, engine, peers=peers, step_ms=step_ms)
            output = place / "output.txt"
            started[name] = Started(name, port, _process(command, place, output))
            print(f"{name}: starting", file=sys.stderr)
            try:
                await _until_it_answers(started[name], output)
            except StartError as error:
                if name not in PINNED:
                    raise
                print(f"{error}\n{name}: left out", file=sys.stderr)
                await asyncio.to_thread(_end, started.pop(name).process)
        yield started
    finally:
        for side in reversed(started.values()):
            await asyncio.to_thread(_end, side.process)


def free_port() -> int:
    """A port of this machine nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _command(
    name: str, place: Path, port: int, engine: int, *, peers: Path | None, step_ms: float
) -> list[str]:
    pretending = ["--port", str(port), "--step-ms", str(step_ms)]
    if name == DIRECT:
        return [sys.executable, "-m", "bench.overhead.engine", *pretending]
    if name == BARE:
        return [sys.executable, "-m", "bench.overhead.bare_serve", *pretending]
    if name == OURS:
        config = _written(place / "serve.yaml", _our_config(place, port, step_ms))
        return [str(Path(sys.executable).with_name("specroute")), "serve", "--config", str(config)]
    assert peers is not None  # noqa: S101 - see `available`
    program = str(peers.absolute() / name / "bin" / name)
    here = ["--host", "127.0.0.1", "--port", str(port)]
    if name == "litellm":
        config = _written(place / "litellm.yaml", _litellm_config(engine))
        return [program, *here, "--config", str(config), "--num_workers", "1"]
    workers = ["--worker-urls", f"http://127.0.0.1:{engine}", "--policy", "round_robin"]
    return [program, *here, *workers, "--prometheus-port", str(free_port()), "--log-level", "error"]


def _our_config(place: Path, port: int, step_ms: float) -> dict[str, Any]:
    """A vanilla and a speculative pool whose drafter never proposes: a step is one token on every route."""
    slots = {"max_num_seqs": _MOST_CLIENTS}
    args = {
        "fake_engines": {"step_ms": step_ms, "prefill_ms": step_ms, "coverage": 0, "on_time": True},
        "profiles": [{"name": "vanilla", **slots}, {"name": "ngram", "method": "ngram", "k": 8, **slots}],
        "policy": {"path": str(_written(place / "policy.yaml", _POLICY))},
    }
    application = {"name": "specroute", "import_path": "router.app:build", "args": args}
    return {"http_options": {"host": "127.0.0.1", "port": port}, "applications": [application]}


def _litellm_config(engine: int) -> dict[str, Any]:
    reached = {"model": f"openai/{MODEL}", "api_base": f"http://127.0.0.1:{engine}/v1", "api_key": "none"}
    return {
        "model_list": [{"model_name": MODEL, "litellm_params": reached}],
        "litellm_settings": {"telemetry": False, "set_verbose": False},
    }


def _written(file: Path, content: dict[str, Any]) -> Path:
    """JSON is YAML."""
    file.write_text(json.dumps(content))
    return file


def _environment(place: Path) -> dict[str, str]:
    """This process's, without what would change a side, and with what keeps each to itself and quiet."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "SPECROUTE_", "LITELLM_"))}
    return kept | {
        "SPECROUTE_DATA_DIR": str(place / "data"),
        "SPECROUTE_EXIT_WITH_PARENT": "1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
    }


def _process(command: Sequence[str], place: Path, output: Path) -> subprocess.Popen[bytes]:
    """One in a session of its own: the terminal's signals are for this process, which ends the others."""
    with output.open("wb") as file:
        return subprocess.Popen(
            ending_with(os.getpid(), command),
            env=_environment(place),
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


async def _until_it_answers(side: Started, output: Path) -> None:
    deadline = time.monotonic() + _START_S
    refused = ""
    while time.monotonic() < deadline and side.process.poll() is None:
        try:
            await ask_all(side.port, clients=1, requests=1, chunks=1, number=0)
        except (AnswerError, OSError) as error:
            refused = str(error)
            await asyncio.sleep(0.5)
        else:
            return
    said = (await asyncio.to_thread(output.read_text, errors="replace"))[-2000:]
    raise StartError(f"{side.name} did not start: {refused}\n{said}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a side in order, and by force what is left of it then."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for left in psutil.wait_procs(family, timeout=5)[1]:
        left.kill()
