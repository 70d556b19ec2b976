"""The loop closes: what requests show decides later requests, is counted exactly, and survives a restart."""

import asyncio
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from services import MODEL, Service, policy, until

pytestmark = pytest.mark.integration

TRUE_ALPHA = {"code": 0.95, "creative": 0.05}
TENANTS = ("acme", "beta")
NAMES = ("requests", "steps", "drafted", "accepted", "tokens")

Totals = Mapping[tuple[str, str, str | None], Mapping[str, int]]
"""By profile, task and tenant."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the policy and the data of both runs. Evidence hardly fades during the test."""
    folder = tmp_path_factory.mktemp("learning")
    (folder / "policy.yaml").write_text(
        policy("learning", acceptance={"half_life": "24h"}, exploration={"share": 0.1, "max_share": 0.2})
    )
    return folder


@pytest.fixture
def learner(folder: Path) -> Iterator[Service]:
    """A service on that data; whatever it is sent, it is gone in the end."""
    service = Service(folder, policy={"path": str(folder / "policy.yaml")}, fake_engines={"step_ms": 1})
    try:
        yield service.wait_until_ready()
    finally:
        service.end(signal.SIGTERM)


async def ask(client: httpx.AsyncClient, task: str, tenant: str, number: int) -> dict[str, Any]:
    """The details of one request of `task`."""
    response = await client.post(
        "/v1/chat/completions",
        json={
            "model": MODEL,
            "messages": [{"role": "user", "content": f"{task} {number}"}],
            "max_tokens": 1 + number % 60,
            "temperature": 0,
            "metadata": {"task": task, "fake_alpha": TRUE_ALPHA[task]},
        },
        headers={"X-Specroute-Details": "1", "X-Specroute-Tenant": tenant},
    )
    details: dict[str, Any] = response.raise_for_status().json()["specroute"]
    return details


async def traffic(url: str, count: int) -> list[dict[str, Any]]:
    """The details of so many requests of each task, eight at a time, tenants in turn."""
    asked = [(task, TENANTS[number % 2], number) for number in range(count) for task in TRUE_ALPHA]
    room = asyncio.Semaphore(8)
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:

        async def one(task: str, tenant: str, number: int) -> dict[str, Any]:
            async with room:
                return await ask(client, task, tenant, number)

        return await asyncio.gather(*(one(*request) for request in asked))


def recount(details: list[dict[str, Any]]) -> Totals:
    """What the details of all requests come to, per task and per tenant."""
    totals: dict[tuple[str, str, str | None], Counter[str]] = {}
    for one in details:
        counts = {
            "requests": 1,
            "steps": one["steps"],
            "drafted": one["drafted"],
            "accepted": one["accepted"],
            "tokens": one["steps"] + one["accepted"],
        }
        for tenant in (None, one["tenant"]):
            totals.setdefault((one["profile"], one["task"], tenant), Counter()).update(counts)
    return {key: {name: counts[name] for name in NAMES} for key, counts in totals.items()}


def entries(service: Service) -> dict[tuple[str, str, str | None], dict[str, Any]]:
    """The admin API's entries over all temperatures."""
    return {
        (entry["profile"], entry["task"], entry["tenant"]): entry
        for entry in service.get("/admin/v1/alpha")["entries"]
        if entry["temperature"] is None
    }


def lifetimes(service: Service) -> Totals:
    return {key: {name: entry["lifetime"][name] for name in NAMES} for key, entry in entries(service).items()}


seen: list[dict[str, Any]] = []
"""Details of everything both runs served."""
alphas: dict[tuple[str, str, str | None], float | None] = {}


def test_each_task_finds_its_route_and_every_token_is_counted(learner: Service) -> None:
    """High acceptance ends speculative, low ends vanilla; lifetime totals equal a recount, exactly."""
    seen.extend(asyncio.run(traffic(learner.url, 150)))
    until(lambda: lifetimes(learner) == recount(seen), 10)
    routes = {
        task: Counter(one["route"] for one in seen[-120:] if one["task"] == task) for task in TRUE_ALPHA
    }
    assert routes["code"]["speculative"] > 45, routes
    assert routes["creative"]["vanilla"] > 40, routes
    found = entries(learner)
    code, creative = (found["ngram", task, None]["alpha"] for task in TRUE_ALPHA)
    assert code > 0.7
    assert creative < 0.4
    alphas.update({key: entry["alpha"] for key, entry in found.items()})
    learner.end(signal.SIGTERM)
    until(lambda: not learner.remains(), 10)


def test_what_was_learned_survives_a_restart(learner: Service) -> None:
    """After SIGTERM and a new start on the same data, totals and acceptance are as they were, and go on."""
    assert seen
    assert lifetimes(learner) == recount(seen)
    for key, entry in entries(learner).items():
        assert entry["alpha"] == (None if alphas[key] is None else pytest.approx(alphas[key], abs=0.01))
    first = asyncio.run(traffic(learner.url, 10))
    seen.extend(first)
    assert sum(one["route"] == "speculative" for one in first if one["task"] == "code") >= 7
    until(lambda: lifetimes(learner) == recount(seen), 10)
