"""A replica that stops without dying: nothing tells of it but its silence."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import breaking
import httpx
import pytest
from services import MODEL, Service, policy

pytestmark = pytest.mark.chaos


async def test_streams_outlive_a_replica_that_hangs(tmp_path: Path) -> None:
    """After three polls without an answer they go on elsewhere; once it runs again it is used again."""
    file = tmp_path / "policy.yaml"
    file.write_text(policy("hanging"))
    service = Service(
        tmp_path / "service", fake_engines={"step_ms": 25, "prefill_ms": 10}, policy={"path": str(file)}
    ).wait_until_ready()
    try:
        async with httpx.AsyncClient(base_url=service.url, timeout=100) as http:
            bodies = [
                {
                    "model": MODEL,
                    "messages": [{"role": "user", "content": f"Question {n}"}],
                    "max_tokens": 300,
                }
                for n in range(6)
            ]
            expected = [await breaking.whole(http, body) for body in bodies]
            route = {"X-Specroute-Route": "speculative"}
            running = [asyncio.create_task(breaking.read(http, body, route)) for body in bodies]
            await asyncio.sleep(1.0)
            (hanging,) = breaking.replicas(service.processes(), "ngram")
            os.kill(hanging.pid, signal.SIGSTOP)
            streams = await asyncio.gather(*running)
            os.kill(hanging.pid, signal.SIGCONT)
            for stream, answer in zip(streams, expected, strict=True):
                assert stream.complaints(*answer) == []
            assert any(stream.resumed for stream in streams)

            async def well() -> bool:
                pools = (await breaking.pools(http)).values()
                return all(
                    pool["available"] and not pool["ejected"] and not pool["in_flight"] for pool in pools
                )

            await breaking.until(well, 60)
    finally:
        service.end(signal.SIGINT, group=True)
