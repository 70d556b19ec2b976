"""Clients that go away, at every stage, leave nothing behind."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import httpx
import pytest
from waiting import ANSWER_S, until
from whole_service import MODEL, Service

pytestmark = pytest.mark.engine

_STREAMS = 100
_AT_ONCE = 16


async def _give_up(client: httpx.AsyncClient, number: int) -> None:
    """Leave before the headers, before the first event, after a few events, or while a whole answer is made."""
    whole = number % 5 == 0
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": f"Story number {number}, please."}],
        "max_tokens": 400,
        "ignore_eos": True,
        "stream": not whole,
    }
    headers = {"X-Specroute-Route": "speculative" if number % 2 else "vanilla"}
    events = number % 4
    patience_s = 0.2 if whole else 0.03 if events == 0 else ANSWER_S
    try:
        async with (
            asyncio.timeout(patience_s),
            client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response,
        ):
            async for _ in response.aiter_bytes():
                events -= 1
                if events < 0:
                    return
    except TimeoutError:
        return


async def _all(url: str) -> None:
    limits = httpx.Limits(max_connections=_AT_ONCE)
    async with httpx.AsyncClient(base_url=url, timeout=ANSWER_S, limits=limits) as client:
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(number: int) -> None:
            async with slots:
                await _give_up(client, number)

        await asyncio.gather(*(one(number) for number in range(1, _STREAMS + 1)))


def _in_flight(service: Service) -> int:
    pools = service.admin("replicas")["pools"]
    return sum(pool["in_flight"] + pool["status"]["running"] for pool in pools)


def _memory_mib(service: Service) -> float:
    pids = [pool["status"]["pid"] for pool in service.admin("replicas")["pools"]]
    return sum(
        int(line.split()[1]) / 1024
        for pid in pids
        for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
        if line.startswith("VmRSS")
    )


def test_a_hundred_cancelled_streams_leave_no_trace(service: Service) -> None:
    """Running counts return to zero on both engines, and so does memory."""
    asyncio.run(_all(service.url))  # first-time allocations of this load
    before = _memory_mib(service)
    asyncio.run(_all(service.url))
    until(lambda: _in_flight(service) == 0)
    # A status is a second old at most, where the machine is not busy.
    time.sleep(1.5)
    until(lambda: _in_flight(service) == 0)
    after = _memory_mib(service)
    print(f"front ends: {before:.0f} MiB before, {after:.0f} MiB after {_STREAMS} cancelled streams")
    assert after - before < 30
    assert service.chat("Say hi.", max_tokens=4).status_code == httpx.codes.OK
