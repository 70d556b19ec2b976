"""The loop closes: what requests show decides later requests, is counted exactly, and survives a restart."""

import asyncio
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from services import MODEL, Service, policy, running
from waiting import ANSWER_S, until

pytestmark = pytest.mark.integration

TRUE_ALPHA = {"code": 0.95, "creative": 0.05}
TENANTS = ("acme", "beta")
NAMES = ("requests", "steps", "drafted", "accepted", "tokens")

Totals = Mapping[tuple[str, str, str | None], Mapping[str, int]]
"""By profile, task and tenant."""


@contextmanager
def learner(folder: Path, end: signal.Signals) -> Iterator[Service]:
    """A service on the data in `folder`, however it ends. Evidence hardly fades during the test."""
    text = policy("learning", acceptance={"half_life": "24h"}, exploration={"share": 0.1, "max_share": 0.2})
    with running(folder, text, fake_engines={"step_ms": 1}) as service:
        yield service
        service.end(end)
        # Nothing is left; what a killed launcher could not end, the warden does.
        waited = until(lambda: not service.remains())
        print(f"nothing left {waited:.1f} s after {end.name}")


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
    async with httpx.AsyncClient(base_url=url, timeout=ANSWER_S) as client:

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


def test_the_loop_closes_and_survives_a_restart(tmp_path: Path) -> None:
    """High acceptance ends speculative, low ends vanilla; totals equal a recount, exactly, before and after.

    At most one request in five explores: that half of sixty do, or of forty, has a probability below 1e-5.
    """
    with learner(tmp_path, signal.SIGTERM) as service:
        seen = asyncio.run(traffic(service.url, 150))
        until(lambda: lifetimes(service) == recount(seen))
        assert share(seen[-120:], "code", "speculative") > 0.5
        assert share(seen[-120:], "creative", "vanilla") > 0.5
        found = entries(service)
        code, creative = (found["ngram", task, None]["alpha"] for task in TRUE_ALPHA)
        assert code > 0.7
        assert creative < 0.4
    with learner(tmp_path, signal.SIGKILL) as service:
        until(lambda: lifetimes(service) == recount(seen))
        for key, entry in entries(service).items():
            before = found[key]["alpha"]
            assert entry["alpha"] == (None if before is None else pytest.approx(before, abs=0.01))
        first = asyncio.run(traffic(service.url, 40))
        assert share(first, "code", "speculative") > 0.5
        until(lambda: lifetimes(service) == recount([*seen, *first]))


def share(details: list[dict[str, Any]], task: str, route: str) -> float:
    """Of the requests of a task, those that went on a route."""
    routes = Counter(one["route"] for one in details if one["task"] == task)
    print(task, dict(routes))
    return routes[route] / routes.total()
