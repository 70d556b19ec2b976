"""Ray's own `serve deploy` of the cpu-demo's config, on fake engines: it takes traffic, and its upgrade loses no request.

The same on real engines: tests/chaos/test_deployed_engines.py.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import breaking
import httpx
import pytest
import yaml
from ray_cluster import DEMO, RayCluster
from services import MODEL, START_S, policy
from traffic import Clients, known_text
from waiting import until, until_async

pytestmark = pytest.mark.integration

FAKE = {"step_ms": 5, "prefill_ms": 5}
LONG = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "What follows, at length?"}],
    "max_tokens": 2000,
}
"""A stream of ten seconds and more: under way when the router and the engine are replaced."""
REQUESTS = 150


class Deployment:
    """A revision of the cpu-demo in a file, with fake engines and a patient policy."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "serve.yaml"
        self._policy = folder / "policy.yaml"
        self._policy.write_text(policy("deployed"))

    def write(self, *profiles: dict[str, Any]) -> Path:
        """The demo's config, its pools changed if any are given."""
        config = yaml.safe_load(DEMO.read_text("utf-8"))
        args = config["applications"][0]["args"]
        args |= {"fake_engines": FAKE, "policy": {"path": str(self._policy)}, "drain_s": 900}
        args["profiles"] = list(profiles) or args["profiles"]
        self.file.write_text(json.dumps(config))  # JSON is YAML
        return self.file


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    """An empty cluster."""
    found = RayCluster(tmp_path_factory.mktemp("cluster"))
    try:
        yield found
    finally:
        found.end()
    until(lambda: not found.processes())


@pytest.fixture(scope="module")
def deployment(cluster: RayCluster) -> Deployment:
    """The demo, deployed."""
    found = Deployment(cluster.folder)
    cluster.deploy(found.write())
    until(cluster.ready, limit_s=START_S)
    until(lambda: cluster.applications()["specroute"]["status"] == "RUNNING", limit_s=START_S)
    return found


CHANGED = ({"name": "vanilla"}, {"name": "ngram", "method": "ngram", "k": 6})


async def test_serve_deploy_loses_no_request(deployment: Deployment, cluster: RayCluster) -> None:
    """With the embedded store and one router, as the demo has it; a stream that was under way goes on."""
    before = {name: cluster.replicas(name) for name in ("router", "vanilla", "ngram")}
    async with (
        httpx.AsyncClient(base_url=cluster.url, timeout=600) as http,
        Clients(cluster.url, at_once=4, tenants=["acme"]) as clients,
    ):
        seen: list[breaking.Stream] = []
        stream = asyncio.create_task(breaking.read(http, LONG, {}, seen))
        await until_async(lambda: seen and seen[0].begun)
        await asyncio.to_thread(cluster.deploy, deployment.write(*CHANGED))
        await until_async(lambda: _moved(cluster, before), limit_s=START_S)
        await clients.sent(clients.tally.requests + REQUESTS)
        answered = await stream
    print(json.dumps(clients.tally.report()))
    assert clients.tally.complaints == []
    assert clients.tally.broken == 0
    assert answered.complaints(known_text(LONG), LONG["max_tokens"]) == []


def _moved(cluster: RayCluster, before: dict[str, set[int]]) -> bool:
    """Whether the new revision runs, and nothing of the old one."""
    application = cluster.applications()["specroute"]
    assert application["status"] != "DEPLOY_FAILED", application
    replaced = all(not cluster.replicas(name) & before[name] for name in before)
    return application["status"] == "RUNNING" and replaced
