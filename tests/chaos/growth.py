"""One router in this process, over fake pools and at full speed: what of it grows, and until when?

    python tests/chaos/growth.py [--requests 60000] [--shrink 20] [--trace]

`make soak` sees the size of processes only, and at a steady pace; here a request takes a few milliseconds, so
that caches which take an hour to fill are full within minutes; with `--shrink 20` they hold a twentieth, and
are full after some thousands. Nobody comes twice: every question, and a fifth of the tenants, is a new one. With
`--trace` it also tells which lines of code hold what was allocated since the checkpoint before (`tracemalloc`; three
times as slow).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import json
import os
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from random import Random
from typing import Any

import psutil

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "integration")]

from services import MODEL, policy  # noqa: E402
from traffic import BAD_BODIES, KINDS  # noqa: E402

from policies.cost.decayed import Ratios  # noqa: E402
from replicas.fake import FakeEngine  # noqa: E402
from replicas.frames import Call, Frame  # noqa: E402
from router.ingress import Router  # noqa: E402
from router.settings import DATA_VARIABLE, DeploymentSettings, parse_settings  # noqa: E402

STEPS = 10
"""Checkpoints, the same number of requests apart."""
BOUNDS = {
    "policies.memory": ("MAX_TASKS", "MAX_CONVERSATIONS"),
    "policies.learner": ("_MAX_TASKS",),
    "policies.task_beliefs": ("_MAX_ESTIMATES",),
    "policies.task_reader": ("_MAX_KEPT",),
    "router.dashboard.tally": ("_MAX_KEYS",),
    "router.decisions": ("MAX_TASKS",),
    "router.drifting": ("_MAX_KEPT",),
}
"""Sizes of what is kept per tenant, task and conversation."""
TENANTS = 150
STRANGERS = 0.2
LINES = 25


class EnginePool:
    """Implements `router.pools.PoolClient` over a fake engine in this process."""

    def __init__(self, name: str, engine: FakeEngine) -> None:
        self._name = name
        self._engine = engine

    async def serve(
        self, call: Call, home: str = "", avoid: frozenset[str] = frozenset()
    ) -> AsyncGenerator[Frame, None]:
        """Frames, signed as a replica does."""
        async with aclosing(self._engine.serve(call)) as frames:
            async for frame in frames:
                named = frame
                if (ending := frame.ending) is not None:
                    named = named._replace(ending=ending._replace(replica=self._name))
                yield named._replace(replica=self._name) if frame.status else named

    async def status(self, home: str = "", avoid: frozenset[str] = frozenset()) -> dict[str, Any]:
        """As `replicas.deployment` tells it."""
        load = self._engine.load()
        return {
            "profile": self._name,
            "replica": self._name,
            "running": load.running,
            "waiting": load.waiting,
            "capacity": load.capacity,
            "step_moments": self._engine.steps.moments.to_list(),
        }


class Visitors:
    """Requests of every kind, called straight into the application."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._rng = Random(1)
        self.answers: Counter[int] = Counter()

    def _scope(self, body: bytes) -> dict[str, Any]:
        stranger = self._rng.random() < STRANGERS
        tenant = (
            f"stranger-{self._rng.getrandbits(48):x}"
            if stranger
            else f"tenant-{self._rng.randrange(TENANTS)}"
        )
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/v1/chat/completions",
            "raw_path": b"/v1/chat/completions",
            "root_path": "",
            "query_string": b"",
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"x-specroute-tenant", tenant.encode()),
            ],
            "client": ("127.0.0.1", 0),
            "server": ("127.0.0.1", 80),
            "state": {},
        }

    async def one(self, number: int) -> None:
        """One request, read to its end or left after its first part."""
        kind = KINDS[number % len(KINDS)]
        body = BAD_BODIES[number % len(BAD_BODIES)]
        if kind != "bad":
            body = json.dumps(
                {
                    "model": MODEL,
                    "messages": [{"role": "user", "content": f"Question {number}: what follows?"}],
                    "max_tokens": 4 + number % 24,
                    "stream": kind != "whole",
                }
            ).encode()
        gone = asyncio.Event()
        sent = False

        async def receive() -> dict[str, Any]:
            nonlocal sent
            if not sent:
                sent = True
                return {"type": "http.request", "body": body, "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self.answers[message["status"]] += 1
            elif kind == "leave":
                gone.set()

        await self._app(self._scope(body), receive, send)


def checkpoint(requests: int, began_s: float) -> dict[str, Any]:
    """The process now, garbage collected."""
    gc.collect()
    return {
        "requests": requests,
        "seconds": round(time.monotonic() - began_s, 1),
        "rss_mib": round(psutil.Process().memory_info().rss / 2**20, 1),
        "traced_mib": round(tracemalloc.get_traced_memory()[0] / 2**20, 1)
        if tracemalloc.is_tracing()
        else None,
        "objects": len(gc.get_objects()),
        "tasks": len(asyncio.all_tasks()),
        "files": psutil.Process().num_fds(),
    }


def grown(before: tracemalloc.Snapshot, after: tracemalloc.Snapshot) -> Iterator[str]:
    """The lines that hold most of what came since."""
    for found in after.compare_to(before, "lineno")[:LINES]:
        frame = found.traceback[0]
        yield f"{found.size_diff / 1024:+9.0f} KiB {found.count_diff:+8d}  {frame.filename}:{frame.lineno}"


async def run(settings: DeploymentSettings, requests: int, at_once: int) -> None:
    """Print a line of JSON per checkpoint."""
    fake = settings.fake_engines
    assert fake is not None
    router = Router(
        settings,
        {p.name: EnginePool(p.name, FakeEngine(p, settings.model, fake)) for p in settings.profiles},
    )
    app = router.app()
    await router.start()
    visitors = Visitors(app)
    before = tracemalloc.take_snapshot() if tracemalloc.is_tracing() else None
    began_s, done = time.monotonic(), 0
    print(json.dumps(checkpoint(0, began_s)), flush=True)
    try:
        for until in range(requests // STEPS, requests + 1, requests // STEPS):
            turns = iter(range(done, until))

            async def client(turns: Iterator[int] = turns) -> None:
                for number in turns:
                    await visitors.one(number)

            await asyncio.gather(*(client() for _ in range(at_once)))
            done = until
            await asyncio.sleep(1.0)
            print(json.dumps(checkpoint(done, began_s)), flush=True)
            if before is not None:
                after = tracemalloc.take_snapshot()
                print("\n".join(grown(before, after)), flush=True)
                before = after
    finally:
        await router.close()
    print(json.dumps({"answers": visitors.answers}))


def shrink(factor: int) -> None:
    """Let caches hold a `factor`th of what they hold otherwise."""
    for module, names in BOUNDS.items():
        for name in names:
            found = importlib.import_module(module)
            setattr(found, name, getattr(found, name) // factor)
    keyed = Ratios.__init__.__kwdefaults__
    keyed["max_keys"] //= factor


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=60_000)
    parser.add_argument("--at-once", type=int, default=16)
    parser.add_argument("--shrink", type=int, default=1, metavar="N", help="an Nth of the size for caches")
    parser.add_argument("--trace", action="store_true", help="tell which lines hold what was allocated")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="specroute-growth-") as name:
        os.environ[DATA_VARIABLE] = name
        file = Path(name) / "policy.yaml"
        file.write_text(policy("growth"))
        settings = parse_settings(
            {
                "fake_engines": {"step_ms": 0.5, "prefill_ms": 0.5},
                "policy": {"path": str(file)},
                "tenancy": {"trusted_header": True, "max_tenants": 2 * TENANTS},
                "http": {"open_admin": True},
            }
        )
        shrink(given.shrink)
        if given.trace:
            tracemalloc.start()
        asyncio.run(run(settings, given.requests, given.at_once))


if __name__ == "__main__":
    main()
