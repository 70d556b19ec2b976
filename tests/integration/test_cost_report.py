"""Step times travel from the engines to the cost report, as the engines' own settings have them."""

import asyncio
from itertools import product
from typing import Any, NamedTuple

import httpx
import pytest
from services import MODEL, Service
from waiting import ANSWER_S, until

from policies.cost import StepLoad, StepTime, parse_calibration

pytestmark = pytest.mark.integration

STEP_S = 0.002
"""A plain step of the shared service's engines, which its profile says verification makes 1.7 times as long."""
CONTEXT = 30.0
"""Tokens that the passes of the traffic below have behind them, on the average."""


class Decoded(NamedTuple):
    """What answers on one pool took, by their own account."""

    seconds: float
    steps: int


async def traffic(url: str, count: int) -> dict[str, Decoded]:
    """Requests of 30 tokens on both pools at several k, one at a time."""
    totals = {"vanilla": Decoded(0.0, 0), "ngram": Decoded(0.0, 0)}
    async with httpx.AsyncClient(base_url=url, timeout=ANSWER_S) as client:
        for number, pool in product(range(count), ("vanilla", "ngram")):
            body = {
                "model": MODEL,
                "messages": [{"role": "user", "content": f"{pool} {number}"}],
                "max_tokens": 30,
                "metadata": {"fake_alpha": 0.3},
            }
            # Plain decoding is to be had on either pool, so a pool that is to be measured must be named.
            headers = {"X-Specroute-Profile": pool, "X-Specroute-Details": "1"}
            headers |= (
                {"X-Specroute-K": str(1 + number % 8)}
                if pool == "ngram"
                else {"X-Specroute-Route": "vanilla"}
            )
            answer = await client.post("/v1/chat/completions", json=body, headers=headers)
            details = answer.raise_for_status().json()["specroute"]
            before = totals[details["profile"]]
            totals[details["profile"]] = Decoded(
                before.seconds + details["measured_s"], before.steps + details["steps"]
            )
    return totals


def entries(service: Service) -> dict[str, Any]:
    found: dict[str, Any] = service.get("/admin/v1/cost")["profiles"]
    return found


def test_the_report_has_the_engines_step_times(service: Service) -> None:
    """Measured on both pools: no step is shorter than it was made, and most are about what answers took.

    Sleepers that a busy machine wakes late make all of them longer, in the report as in the answers.
    """
    seen = asyncio.run(traffic(service.url, 24))
    until(lambda: all(entry["steps"] >= 100 for entry in entries(service).values()))
    answer = httpx.get(f"{service.url}/admin/v1/cost", timeout=ANSWER_S)
    read = parse_calibration(answer.content, "the answer")
    for name, entry in entries(service).items():
        print(name, entry, seen[name])
        assert entry["source"] == "measured"
        assert entry["refused_records"] == 0
        mean_s = seen[name].seconds / seen[name].steps
        assert 0.95 * STEP_S < plain_s(read[name].step_time) < 2 * mean_s + STEP_S
    ngram = read["ngram"].step_time
    drafting = ngram.seconds(StepLoad(requests=1, verifying=1, drafted=4, context=CONTEXT))
    print(f"a step with drafts takes {drafting / plain_s(ngram):.2f} times as long; made 1.7 times")
    assert drafting >= plain_s(ngram)


def plain_s(step_time: StepTime) -> float:
    """Of a pass like those of the answers: a fit may put a part of all their time down to their context."""
    return step_time.seconds(StepLoad(requests=1, context=CONTEXT))
