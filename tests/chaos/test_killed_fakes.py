"""Thousands of streams over fake engines, one of which is killed every few seconds."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
from collections.abc import Iterator
from random import Random
from typing import Any

import breaking
import httpx
import pytest
from scenario_table import ROWS, Row
from services import MODEL, Service, policy
from waiting import until_async

pytestmark = pytest.mark.chaos

REPLICAS = {"vanilla": 3, "ngram": 2}
AT_ONCE = 40
KILLS = 20
EVERY_S = 4.0
QUESTIONS = 200


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Five replicas in two pools."""
    folder = tmp_path_factory.mktemp("killed_fakes")
    file = folder / "policy.yaml"
    file.write_text(policy("killed"))
    service = Service(
        folder / "service",
        profiles=[
            {"name": "vanilla", "replicas": REPLICAS["vanilla"]},
            {"name": "ngram", "method": "ngram", "k": 4, "replicas": REPLICAS["ngram"]},
        ],
        fake_engines={"step_ms": 20, "prefill_ms": 10},
        policy={"path": str(file)},
    )
    try:
        yield service.wait_until_ready()
    finally:
        service.end(signal.SIGINT, group=True)


def body(number: int) -> dict[str, Any]:
    question = f"Question {number % QUESTIONS}: what follows?"
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": 8 + number % QUESTIONS % 64,
    }


async def test_streams_outlive_their_replicas(service: Service) -> None:
    """Every answer is the unbroken one, streamed or not; nothing stays in flight; the counters agree."""
    rng = Random(1)
    async with httpx.AsyncClient(
        base_url=service.url, timeout=120, limits=httpx.Limits(max_connections=None)
    ) as http:
        expected = {}
        for number in range(QUESTIONS):
            asked = body(number)
            expected[asked["messages"][0]["content"]] = await breaking.whole(http, asked)
        over = asyncio.Event()
        turns = itertools.count()
        streams: list[breaking.Stream] = []
        wholes: list[bool] = []

        async def client() -> None:
            while not over.is_set():
                number = next(turns)
                asked = body(number)
                if number % 8 == 0:
                    answer = await breaking.whole(http, asked)
                    wholes.append(answer == expected[asked["messages"][0]["content"]])
                else:
                    route = {"X-Specroute-Route": ("vanilla", "speculative")[number % 2]}
                    streams.append(await breaking.read(http, asked, route))

        clients = [asyncio.create_task(client()) for _ in range(AT_ONCE)]
        for _ in range(KILLS):
            await asyncio.sleep(EVERY_S)
            profile = rng.choice(list(REPLICAS))
            victims = breaking.replicas(service.processes(), profile)
            # A pool of which all are gone at once is another scenario.
            if len(victims) == REPLICAS[profile]:
                breaking.kill(rng.choice(victims))
        over.set()
        await asyncio.gather(*clients)

        async def idle() -> bool:
            return all(pool["in_flight"] == 0 for pool in (await breaking.pools(http)).values())

        await until_async(idle)
        counted = await breaking.failovers(http)
    complaints = [found for stream in streams if (found := stream.complaints(*expected[stream.prompt]))]
    report = {
        "streams": len(streams),
        "whole": len(wholes),
        "failed": len(complaints) + wholes.count(False),
        "resumed": sum(stream.resumed for stream in streams),
        "counted": counted,
    }
    print(json.dumps(report, indent=1))
    ROWS.append(
        Row(
            f"{KILLS} replicas killed",
            "fake",
            len(streams) + len(wholes),
            failed=len(complaints) + wholes.count(False),
            resumed=sum(stream.resumed for stream in streams),
        )
    )
    assert complaints == []
    assert all(wholes)
    assert report["resumed"] == counted["mid_stream"]
