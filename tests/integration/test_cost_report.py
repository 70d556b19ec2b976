"""Step times travel from the engines to the cost report, as the engines' own settings have them."""

import asyncio
from typing import Any

import httpx
import pytest
from services import MODEL, Service, until

from policies.cost import StepLoad, StepTime, parse_calibration

pytestmark = pytest.mark.integration

STEP_S = 0.002
"""A plain step of the shared service's engines, which its profile says verification makes 1.7 times as long."""


async def traffic(url: str, count: int) -> None:
    """Requests of 30 tokens on both pools at several k, one at a time."""
    room = asyncio.Semaphore(1)
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:

        async def one(number: int, pool: str) -> None:
            body = {
                "model": MODEL,
                "messages": [{"role": "user", "content": f"{pool} {number}"}],
                "max_tokens": 30,
                "metadata": {"fake_alpha": 0.3},
            }
            headers = {"X-Specroute-Route": pool}
            if pool == "speculative":
                headers["X-Specroute-K"] = str(1 + number % 8)
            async with room:
                (await client.post("/v1/chat/completions", json=body, headers=headers)).raise_for_status()

        await asyncio.gather(*(one(n, pool) for n in range(count) for pool in ("vanilla", "speculative")))


def entries(service: Service) -> dict[str, Any]:
    found: dict[str, Any] = service.get("/admin/v1/cost")["profiles"]
    return found


def test_the_report_has_the_engines_step_times(service: Service) -> None:
    """Measured on both pools: a plain step, and what drafts add to it, within a timer's inaccuracy."""
    asyncio.run(traffic(service.url, 24))
    until(lambda: all(entry["steps"] >= 100 for entry in entries(service).values()), 20.0)
    answer = httpx.get(f"{service.url}/admin/v1/cost", timeout=10)
    read = parse_calibration(answer.content, "the answer")
    for name, entry in entries(service).items():
        print(name, entry)
        assert entry["source"] == "measured"
        assert entry["refused_records"] == 0
        assert (
            0.95 * STEP_S < plain_s(read[name].step_time) < 2 * STEP_S
        )  # a busy machine wakes sleepers late
    ngram = read["ngram"].step_time
    drafting = ngram.seconds(StepLoad(requests=1, verifying=1, drafted=4))
    assert 1.3 < drafting / plain_s(ngram) < 2.0


def plain_s(step_time: StepTime) -> float:
    return step_time.seconds(StepLoad(requests=1))
