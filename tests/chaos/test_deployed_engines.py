"""Ray's own `serve deploy` of the cpu-demo, literally, on real engines: traffic, an upgrade under load, and a bad revision."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import breaking
import httpx
import pytest
import yaml
from ray_cluster import DEMO, RayCluster
from scenario_table import ROWS, Row
from services import MODEL, START_S
from waiting import until, until_async

from replicas.model_store import default_cache_dir

pytestmark = pytest.mark.chaos

QUESTIONS = (
    "Write a function that adds two numbers.",
    "Name three rivers.",
    "What is an engine?",
    "Count to ten.",
)
LONG = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Tell a long story about a lighthouse."}],
    "max_tokens": 400,
    "min_tokens": 400,
    "temperature": 0,
}
ANSWERS = 30
"""That are awaited after a revision runs."""
TRIES_S = 600.0
"""Serve tries a replica that does not start three times, some twenty seconds each on an idle machine."""


class Load:
    """Three clients that ask one question after the other, and what they got."""

    def __init__(self, url: str) -> None:
        self.results: Counter[str] = Counter()
        self._http = httpx.AsyncClient(base_url=url, timeout=600)
        self._over = False

    @asynccontextmanager
    async def running(self) -> Any:
        """While the context lasts; every question gets its answer before it ends."""
        async with self._http:
            clients = [asyncio.create_task(self._client(number)) for number in range(3)]
            try:
                yield self
            finally:
                self._over = True
                await asyncio.gather(*clients)

    async def answered(self, more: int) -> None:
        """Return when so many more questions have been answered."""
        goal = self.results["answered"] + more
        await until_async(lambda: self.results["answered"] >= goal or self.failed, limit_s=TRIES_S)

    @property
    def failed(self) -> int:
        """Questions without their answer."""
        return self.results.total() - self.results["answered"]

    async def _client(self, number: int) -> None:
        for turn in itertools.count(number):
            if self._over:
                return
            self.results[await self._asked(QUESTIONS[turn % len(QUESTIONS)])] += 1

    async def _asked(self, question: str) -> str:
        body = {"model": MODEL, "messages": [{"role": "user", "content": question}], "max_tokens": 32}
        try:
            response = await self._http.post("/v1/chat/completions", json=body)
        except httpx.TransportError as error:
            return f"{type(error).__name__}: {error}"
        if response.status_code != httpx.codes.OK:
            return f"{response.status_code}: {response.text[:200]}"
        usage = response.json()["usage"]["completion_tokens"]
        return "answered" if usage else f"empty: {response.text[:200]}"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    """A cluster that runs the demo's own file."""
    found = RayCluster(tmp_path_factory.mktemp("cluster"), {"SPECROUTE_CACHE_DIR": str(default_cache_dir())})
    try:
        found.deploy(DEMO)
        until(found.ready, limit_s=START_S)
        until(lambda: running(found), limit_s=START_S)
        yield found
    finally:
        found.end()
    until(lambda: not found.processes())


def running(cluster: RayCluster) -> bool:
    """Whether all of the application runs as it was deployed."""
    return cluster.applications()["specroute"]["status"] == "RUNNING"


def revision(cluster: RayCluster, *profiles: dict[str, Any]) -> Path:
    """The demo's file with other pools."""
    config = yaml.safe_load(DEMO.read_text("utf-8"))
    config["applications"][0]["args"]["profiles"] = list(profiles)
    file = cluster.folder / "serve.yaml"
    file.write_text(json.dumps(config))  # JSON is YAML
    return file


async def test_an_upgrade_under_load_fails_no_request(cluster: RayCluster) -> None:
    """Serve replaces router and engines, one engine after the other; a stream that has begun is answered to its end."""
    before = {name: cluster.replicas(name) for name in ("router", "vanilla", "ngram")}
    load = Load(cluster.url)
    async with load.running(), httpx.AsyncClient(base_url=cluster.url, timeout=600) as http:
        await load.answered(ANSWERS)
        seen: list[breaking.Stream] = []
        stream = asyncio.create_task(breaking.read(http, LONG, {}, seen))
        await until_async(lambda: seen and seen[0].begun)
        changed = revision(cluster, {"name": "vanilla"}, {"name": "ngram", "method": "ngram", "k": 6})
        await asyncio.to_thread(cluster.deploy, changed)
        await until_async(
            lambda: running(cluster) and not any(cluster.replicas(name) & before[name] for name in before),
            limit_s=START_S,
        )
        await load.answered(ANSWERS)
        answered = await stream
    print(json.dumps(load.results))
    ROWS.append(row("serve deploy: an upgrade of the cpu-demo", load, answered))
    assert load.failed == 0, load.results
    assert answered.error is None
    assert answered.done
    assert answered.events[-1]["usage"]["completion_tokens"] == LONG["max_tokens"]


async def test_a_pool_that_cannot_load_its_model_stops_nobody(cluster: RayCluster, tmp_path: Path) -> None:
    """A revision whose drafter has no weights: Serve and the log say why, and the plain pool answers everything."""
    (tmp_path / "config.json").write_text((default_model() / "config.json").read_text("utf-8"))
    broken = {"name": "draft", "method": "draft_model", "k": 3, "draft_model": str(tmp_path)}
    load = Load(cluster.url)
    async with load.running():
        await load.answered(ANSWERS)
        changed = revision(cluster, {"name": "vanilla"}, broken)
        await asyncio.to_thread(cluster.deploy, changed)
        await until_async(lambda: reason(cluster), limit_s=TRIES_S)
        await load.answered(ANSWERS)
    told = reason(cluster)
    print(json.dumps(load.results), told[-600:])
    ROWS.append(row("serve deploy: a pool that cannot load", load))
    assert load.failed == 0, load.results
    assert told
    assert logged(cluster, str(tmp_path))


def logged(cluster: RayCluster, words: str) -> bool:
    """Whether the log of one of the run's processes says so."""
    folder = Path(cluster.variables["SPECROUTE_LOG_DIR"]).parent
    files = [file for file in folder.rglob("*") if file.suffix in {".log", ".err", ".out"} and file.is_file()]
    return any(words in file.read_text(errors="replace") for file in files)


def reason(cluster: RayCluster) -> str:
    """What Serve says of the pool that does not start; KubeRay copies it into the RayService's status."""
    found: str = cluster.applications()["specroute"]["deployments"].get("draft", {}).get("message", "")
    return found


def default_model() -> Path:
    """The folder of the embedded model, which the running engines have prepared."""
    return next(folder.parent for folder in default_cache_dir().rglob("config.json"))


def row(scenario: str, load: Load, *streams: breaking.Stream) -> Row:
    """The scenario's line in the table at the end."""
    requests = load.results.total() + len(streams)
    failed = load.failed + sum(not stream.done for stream in streams)
    return Row(scenario, "real", requests, failed, resumed=sum(stream.resumed for stream in streams))
