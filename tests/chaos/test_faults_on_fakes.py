"""One thing after the other is broken while clients of every kind send requests to fake engines.

What has to hold, whatever is broken: every request is answered exactly once, or refused with an error object
(`traffic`); nothing stays in flight, no process is left over or missing, the counters agree with what was
sent, memory returns (`invariants`). Where the router or the proxy that holds a connection dies, the connection
breaks: then it holds that it breaks cleanly (a transport error, never a wrong answer), that the request is
answered when its client sends it again, as it also does after a 503, and that nothing leaks.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import breaking
import psutil
import pytest
from invariants import MEMORY_MIB, Books
from scenario_table import ROWS, tally_row
from services import Service, policy
from traffic import Clients
from waiting import until

from router.valkey import EmbeddedValkey

PROXY_ACTOR = "ray::HAProxyManager"
STOPPED_S = 8.0
REQUESTS = 2000
FEW = 150
AFTERWARDS = 200


async def kill_replica(service: Service) -> None:
    """One of the two replicas of a pool."""
    breaking.kill(breaking.replicas(service.processes(), "ngram")[0])


async def kill_router(service: Service) -> None:
    """One of two routers, with all its connections."""
    breaking.kill(breaking.replicas(service.processes(), "router")[0])


async def kill_proxy(service: Service) -> None:
    """HAProxy, with all connections."""
    for process in service.processes():
        if process.name() == "haproxy":
            breaking.kill(process)


async def kill_proxy_actor(service: Service) -> None:
    """Serve's actor that starts HAProxy and tells it where the routers are."""
    (actor,) = [
        process for process in service.processes() if "".join(process.cmdline()).startswith(PROXY_ACTOR)
    ]
    breaking.kill(actor)


async def stop_replica(service: Service) -> None:
    """A replica that holds still for some seconds, and goes on."""
    process = breaking.replicas(service.processes(), "vanilla")[0]
    os.kill(process.pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(STOPPED_S)
    finally:
        os.kill(process.pid, signal.SIGCONT)


async def kill_store(service: Service) -> None:
    """The embedded Valkey: the router's only child."""
    (router,) = breaking.replicas(service.processes(), "router")
    for child in _stores(router):
        breaking.kill(child)


def _stores(router: psutil.Process) -> list[psutil.Process]:
    return [child for child in router.children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]


class Fault(NamedTuple):
    """What is done, and whether connections may break by it."""

    do: Callable[[Service], Awaitable[None]]
    breaks: bool = False


FAULTS = {
    "replica killed": Fault(kill_replica),
    "replica stopped": Fault(stop_replica),
    "router killed": Fault(kill_router, breaks=True),
    "proxy killed": Fault(kill_proxy, breaks=True),
    "proxy's actor killed": Fault(kill_proxy_actor, breaks=True),
}
STORE = Fault(kill_store)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two routers, which share a store, over two pools of two."""
    folder = tmp_path_factory.mktemp("faults")
    file = folder / "policy.yaml"
    file.write_text(policy("faults"))
    with EmbeddedValkey(folder / "valkey") as store:
        service = Service(
            folder / "service",
            routers=2,
            store={"url": store.url},
            profiles=[
                {"name": "vanilla", "replicas": 2},
                {"name": "ngram", "method": "ngram", "k": 4, "replicas": 2},
            ],
            fake_engines={"step_ms": 3, "prefill_ms": 2},
            policy={"path": str(file)},
        )
        try:
            yield service.wait_until_ready()
        finally:
            service.end(signal.SIGINT, group=True)
    until(lambda: not service.remains())


async def play(service: Service, name: str, fault: Fault, requests: int) -> None:
    """Traffic, the fault in its midst; then quiet, and traffic again that all must be well with."""
    books = await Books(service).open()
    retry_s = 240.0 if fault.breaks else 0.0
    async with Clients(service.url, retry_s=retry_s, tenants=["acme", "globex"]) as clients:
        await clients.sent(requests // 4)
        await fault.do(service)
        await clients.sent(requests)
    tally = clients.tally
    print(json.dumps(tally.report()))
    ROWS.append(tally_row(name, tally))
    assert tally.complaints == []
    assert tally.requests == sum(tally.results.values())
    await books.settle()
    if not fault.breaks:
        assert tally.broken == 0
        await books.counts(tally.routed)
    assert books.growth_mib() < MEMORY_MIB
    books = await Books(service).open()
    async with Clients(service.url, tenants=["acme", "globex"], seed=2) as clients:
        await clients.sent(AFTERWARDS)
    ROWS.append(tally_row("  afterwards", clients.tally))
    assert clients.tally.complaints == []
    await books.settle()
    await books.counts(clients.tally.routed)


@pytest.mark.chaos
@pytest.mark.parametrize("name", FAULTS)
async def test_faults_under_load(service: Service, name: str) -> None:
    """The invariants hold over two thousand requests."""
    await play(service, name, FAULTS[name], REQUESTS)


@pytest.mark.integration
@pytest.mark.parametrize("name", ["router killed"])
async def test_faults_briefly(service: Service, name: str) -> None:
    """The same for few requests, of a fault that no other test of the default run has."""
    await play(service, name, FAULTS[name], FEW)


@pytest.mark.chaos
async def test_the_embedded_store_is_killed(tmp_path: Path) -> None:
    """No request notices; the store is started again, and learning goes on in it."""
    file = tmp_path / "policy.yaml"
    file.write_text(policy("store"))
    service = Service(
        tmp_path / "service", fake_engines={"step_ms": 3, "prefill_ms": 2}, policy={"path": str(file)}
    ).wait_until_ready()
    try:
        (router,) = breaking.replicas(service.processes(), "router")
        (before,) = _stores(router)
        await play(service, "embedded store killed", STORE, REQUESTS)
        (after,) = _stores(router)
        assert after.pid != before.pid
        until(lambda: service.get("/admin/v1/alpha")["store_up"])
    finally:
        service.end(signal.SIGINT, group=True)
    until(lambda: not service.remains())
