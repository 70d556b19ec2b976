"""A replica that stops without dying: nothing tells of it but its silence."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import breaking
import httpx
import pytest
from scenario_table import ROWS, Row
from services import MODEL, Service, policy
from waiting import ANSWER_S, until_async

pytestmark = pytest.mark.chaos


STREAMS = 24
TOKENS = 300
ROUTE = {"X-Specroute-Route": "speculative"}


@pytest.mark.parametrize("replicas", [1, 2])
async def test_streams_outlive_a_replica_that_hangs(tmp_path: Path, replicas: int) -> None:
    """They go on elsewhere, because the router notices; once the replica runs again it is used again.

    The pool's only replica is noticed by polls, one of several by questions that it alone is asked.
    """
    file = tmp_path / "policy.yaml"
    file.write_text(policy("hanging", limits={"deadline": "600s"}))
    service = Service(
        tmp_path / "service",
        profiles=[{"name": "vanilla"}, {"name": "ngram", "method": "ngram", "k": 4, "replicas": replicas}],
        fake_engines={"step_ms": 25, "prefill_ms": 10},
        policy={"path": str(file)},
    ).wait_until_ready()
    try:
        async with httpx.AsyncClient(base_url=service.url, timeout=ANSWER_S) as http:
            bodies = [
                {
                    "model": MODEL,
                    "messages": [{"role": "user", "content": f"Question {n}"}],
                    "max_tokens": TOKENS,
                }
                for n in range(STREAMS)
            ]
            expected = await asyncio.gather(*(breaking.whole(http, body) for body in bodies))
            seen: list[breaking.Stream] = []
            running = [asyncio.create_task(breaking.read(http, body, ROUTE, seen)) for body in bodies]
            await until_async(lambda: sum(stream.begun for stream in seen) >= STREAMS // 2, every_s=0.01)
            hanging = breaking.replicas(service.processes(), "ngram")[0]
            os.kill(hanging.pid, signal.SIGSTOP)
            seconds = []
            try:
                if replicas > 1:  # Serve would end it by and by, and tell the router nothing before

                    async def noticed() -> bool:
                        return bool((await breaking.pools(http))["ngram"]["ejected"])

                    seconds.append(await until_async(noticed))
                    assert hanging.is_running()
                streams = await asyncio.gather(*running)
            finally:
                os.kill(hanging.pid, signal.SIGCONT)
            wrong = [
                found
                for stream, answer in zip(streams, expected, strict=True)
                if (found := stream.complaints(*answer))
            ]
            resumed = sum(stream.resumed for stream in streams)
            print(f"{STREAMS} streams, {resumed} resumed; noticed after {seconds} s")
            scenario = f"one replica of {replicas} hangs"
            ROWS.append(Row(scenario, "fake", STREAMS, failed=len(wrong), resumed=resumed))
            assert wrong == []
            assert resumed

            async def well() -> bool:
                pools = (await breaking.pools(http)).values()
                return all(
                    pool["available"] and not pool["ejected"] and not pool["in_flight"] for pool in pools
                )

            await until_async(well)
    finally:
        service.end(signal.SIGINT, group=True)
