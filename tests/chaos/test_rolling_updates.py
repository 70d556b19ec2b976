"""A changed deployment is rolled out while clients send requests to fake engines: no request is lost."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import breaking
import httpx
import pytest
import services
from invariants import Books, roles
from scenario_table import ROWS, tally_row
from services import MODEL, Service, policy
from traffic import Clients, known_text
from waiting import until

from router.valkey import EmbeddedValkey

pytestmark = pytest.mark.chaos

REQUESTS = 400
AFTERWARDS = 400
LONG = [
    {
        "model": MODEL,
        "messages": [{"role": "user", "content": f"Question {number}: what follows, at length?"}],
        "max_tokens": 3000,
    }
    for number in range(4)
]
"""Streams of some fifteen seconds and more, which are under way when anything is replaced."""


class Deployed:
    """A running service and its settings, which can be changed."""

    def __init__(self, service: Service, settings: dict[str, Any]) -> None:
        self.service = service
        self.settings = settings

    async def change(self, **changed: Any) -> None:
        """Deploy with some settings changed; returns when that is done."""
        self.settings = self.settings | changed
        replica = breaking.replicas(self.service.processes(), "router")[0]
        address = next(
            word.partition("=")[2]
            for process in self.service.processes()
            for word in process.cmdline()
            if word.startswith("--gcs-address=")
        )
        environment = {
            name: value
            for name, value in replica.environ().items()
            if name.startswith(
                ("RAY_AUTH", "RAY_ENABLE", "RAY_SERVE_", "RAY_USAGE", "RAY_ACCEL", "SPECROUTE_")
            )
        }
        environment.pop(services.RUN, None)
        deploying = await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name("deploying.py")),
            address,
            json.dumps(self.settings),
            env=os.environ | environment,
            stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(600):
                _, stderr = await deploying.communicate()
        finally:
            if deploying.returncode is None:
                deploying.kill()
        assert deploying.returncode == 0, stderr.decode()[-2000:]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """Two routers and two pools of two: what can be replaced one by one."""
    folder = tmp_path_factory.mktemp("rolling")
    file = folder / "policy.yaml"
    file.write_text(policy("rolling"))
    with EmbeddedValkey(folder / "valkey") as store:
        settings: dict[str, Any] = {
            "model": {"name": MODEL},
            "routers": 2,
            "store": {"url": store.url},
            **pools(),
            "fake_engines": {"step_ms": 5, "prefill_ms": 5},
            "policy": {"path": str(file)},
            "tenancy": {"trusted_header": True},
            "http": {"open_admin": True},
        }
        service = Service(folder / "service", **settings)
        try:
            yield Deployed(service.wait_until_ready(), settings)
        finally:
            service.end(signal.SIGINT, group=True)
    until(lambda: not service.remains())


POOLS = {
    "vanilla": {"name": "vanilla", "replicas": 2},
    "ngram": {"name": "ngram", "method": "ngram", "k": 4, "replicas": 2},
}


def pools(**changed: dict[str, Any]) -> dict[str, Any]:
    """The pools, some with other settings."""
    return {"profiles": [pool | changed.get(name, {}) for name, pool in POOLS.items()]}


CHANGES: dict[str, dict[str, Any]] = {
    "limits of the routers": {"http": {"open_admin": True, "max_answers": 64}},
    "an engine's profile": pools(ngram={"k": 6}),
    "more replicas and routers": pools(vanilla={"replicas": 3}) | {"routers": 3},
    "all engines, and the policy file": pools()
    | {"fake_engines": {"step_ms": 4, "prefill_ms": 4}, "policy": {}},
    "fewer replicas and routers": pools(vanilla={"replicas": 1}) | {"routers": 1},
}
"""One after the other."""


@pytest.mark.parametrize("name", CHANGES)
async def test_a_rolling_update_loses_no_request(deployed: Deployed, name: str) -> None:
    """Every request is answered, also those that were under way; afterwards nothing is in flight."""
    service = deployed.service
    before = {p.pid for p in service.processes()}
    async with (
        httpx.AsyncClient(base_url=service.url, timeout=300) as http,
        Clients(service.url, at_once=8, tenants=["acme"]) as clients,
    ):
        await clients.sent(REQUESTS // 2)
        long = [asyncio.create_task(breaking.read(http, body, {})) for body in LONG]
        await clients.sent(REQUESTS)
        await deployed.change(**CHANGES[name])
        await clients.sent(clients.tally.requests + AFTERWARDS)
        streams = await asyncio.gather(*long)
    print(json.dumps(clients.tally.report()), roles(service))
    wrong = [
        stream.complaints(known_text(body), body["max_tokens"])
        for body, stream in zip(LONG, streams, strict=True)
    ]
    row = tally_row(f"deployed: {name}", clients.tally)
    ROWS.append(
        row._replace(
            requests=row.requests + len(streams),
            failed=row.failed + sum(map(bool, wrong)),
            resumed=sum(stream.resumed for stream in streams),
        )
    )
    assert {p.pid for p in service.processes()} != before
    assert clients.tally.complaints == []
    assert clients.tally.broken == 0
    assert not any(wrong)
    await Books(service).settle()
