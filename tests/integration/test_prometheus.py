"""A real Prometheus scrapes a running service and knows every metric of docs/metrics.md."""

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from ports import free_port
from services import MODEL, Service, policy, until

from router.monitoring.files import RULES
from router.monitoring.page import described

pytestmark = pytest.mark.integration

PROMETHEUS = shutil.which("prometheus")
TOKEN = "metrics-token"
PATIENCE_S = 180.0
COMPARED = 120
"""Requests, of which half are the canary's: with fewer than thirty of each, which chance makes of these once in 10^8
times, there is no comparison."""


class Prometheus:
    """A Prometheus of our own, with its data in a folder."""

    def __init__(self, folder: Path, target: str, token_file: Path) -> None:
        assert PROMETHEUS is not None
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        config = {
            "global": {"scrape_interval": "2s", "evaluation_interval": "2s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [
                {
                    "job_name": "specroute",
                    "authorization": {"credentials_file": str(token_file)},
                    "static_configs": [{"targets": [target]}],
                }
            ],
        }
        file = folder / "prometheus.json"
        file.write_text(json.dumps(config))  # JSON is YAML
        with (folder / "prometheus.txt").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    PROMETHEUS,
                    f"--config.file={file}",
                    f"--storage.tsdb.path={folder / 'prometheus'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdout=log,
                stderr=log,
            )

    def get(self, path: str, **query: str) -> Any:
        """The data of an answer of its HTTP API."""
        return (
            httpx.get(f"{self.url}/api/v1/{path}", params=query, timeout=180)
            .raise_for_status()
            .json()["data"]
        )

    def names(self) -> set[str]:
        """Every metric it has a series of."""
        return set(self.get("label/__name__/values"))

    def end(self) -> None:
        """Stop it."""
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One whose metrics need a token, with a named tenant, a canary, a decision log and a pool that may grow."""
    folder = tmp_path_factory.mktemp("prometheus")
    file = folder / "policy.yaml"
    canary = {"policy": "next.yaml", "share": "50%", "stop": {"confidence": 0.999, "min_requests": 30}}
    (folder / "next.yaml").write_text(policy("next", mode="always_vanilla"))
    file.write_text(policy("watched", mode="always_speculative", tenants={"acme": {}}, canary=canary))
    running = Service(
        folder / "service",
        variables={"SPECROUTE_METRICS_TOKEN": TOKEN},
        policy={"path": str(file)},
        decision_log={"path": str(folder / "decisions.jsonl")},
        capture={"folder": str(folder / "captured"), "tenants": ["*"]},
        profiles=[
            {"name": "vanilla", "autoscaling": {"max_replicas": 1}},
            {"name": "ngram", "method": "ngram", "k": 4},
        ],
    )
    try:
        yield running.wait_until_ready()
    finally:
        running.end(signal.SIGTERM)


@pytest.fixture
def prometheus(service: Service, tmp_path: Path) -> Iterator[Prometheus]:
    """One that scrapes the service and evaluates our rules."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    running = Prometheus(tmp_path, f"127.0.0.1:{service.port}", token)
    try:
        yield running
    finally:
        running.end()


def ask(service: Service, *, stream: bool) -> bool:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Write a Python function that merges two lists."}],
        "max_tokens": 24,
        "stream": stream,
    }
    answer = httpx.post(
        f"{service.url}/v1/chat/completions",
        json=body,
        headers={"X-Specroute-Tenant": "acme", "X-Specroute-Task": "code"},
        timeout=180,
    )
    return answer.status_code == 200


@pytest.mark.skipif(PROMETHEUS is None, reason="needs prometheus, the distribution's package")
def test_prometheus_knows_every_documented_metric(service: Service, prometheus: Prometheus) -> None:
    """With the token only; and it takes our rules, and evaluates them on what it scraped."""
    assert httpx.get(f"{service.url}/metrics", timeout=180).status_code == 401
    until(lambda: service.get("/admin/v1/canary")["phase"] == "running", PATIENCE_S)
    for number in range(COMPARED):
        until(lambda stream=number % 3 > 0: ask(service, stream=stream), PATIENCE_S)
    wanted = {metric.name + ("_count" if metric.kind == "histogram" else "") for metric in described()}
    seen: set[str] = set()

    def all_there() -> bool:
        seen.update(prometheus.names())
        return wanted <= seen

    try:
        until(all_there, PATIENCE_S)
    except AssertionError:
        raise AssertionError(f"missing: {sorted(wanted - seen)}") from None
    undocumented = {
        name
        for name in seen
        if name.startswith("specroute_")
        and not any(name.startswith(metric.name.removesuffix("_total")) for metric in described())
    }
    assert undocumented == set()
    until(lambda: "specroute:routers:count" in prometheus.names(), PATIENCE_S)
    groups = prometheus.get("rules")["groups"]
    assert {group["name"] for group in groups} == {"specroute.recorded", "specroute.alerts"}
    until(
        lambda: (
            {rule["health"] for group in prometheus.get("rules")["groups"] for rule in group["rules"]}
            == {"ok"}
        ),
        PATIENCE_S,
    )
    assert prometheus.get("query", query="specroute:routers:count")["result"][0]["value"][1] == "1"
