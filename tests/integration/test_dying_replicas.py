"""Engines are killed while streams run, on a real Ray Serve with fake engines: no client notices."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

import breaking
import httpx
import pytest
from services import MODEL, Service, policy

pytestmark = pytest.mark.integration

TOKENS = 240
AT_ONCE = 24


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two replicas that decode plainly, and one that speculates."""
    folder = tmp_path_factory.mktemp("breaking")
    file = folder / "policy.yaml"
    file.write_text(policy("breaking"))
    service = Service(
        folder / "service",
        profiles=[{"name": "vanilla", "replicas": 2}, {"name": "ngram", "method": "ngram", "k": 4}],
        fake_engines={"step_ms": 25, "prefill_ms": 20},
        policy={"path": str(file)},
    )
    try:
        yield service.wait_until_ready()
    finally:
        service.end(signal.SIGINT, group=True)


def client(service: Service) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(base_url=service.url, timeout=90, limits=limits)


def bodies(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [
        {
            "model": MODEL,
            "messages": [{"role": "user", "content": f"Question {number}: what follows?"}],
            "max_tokens": TOKENS,
            **fields,
        }
        for number in range(count)
    ]


async def broken(
    service: Service, profile: str, count: int
) -> tuple[list[breaking.Stream], dict[str, tuple[str, int]]]:
    """Streams on one pool, a replica of which is killed while all run; and what they should say."""
    async with client(service) as http:
        wanted = bodies(count)
        answers = await asyncio.gather(*(breaking.whole(http, body) for body in wanted))
        route = {"X-Specroute-Route": "vanilla" if profile == "vanilla" else "speculative"}
        running = [asyncio.create_task(breaking.read(http, body, route)) for body in wanted]

        async def flying() -> bool:
            return (await breaking.pools(http))[profile]["in_flight"] >= count // 3

        await breaking.until(flying, 30)
        await asyncio.sleep(0.4)  # some tokens into their answers
        breaking.kill(breaking.replicas(service.processes(), profile)[0])
        streams = await asyncio.gather(*running)
        await breaking.until(lambda: idle(http), 20)
        return list(streams), {
            body["messages"][0]["content"]: answer for body, answer in zip(wanted, answers, strict=True)
        }


async def idle(http: httpx.AsyncClient) -> bool:
    found = await breaking.pools(http)
    return all(pool["in_flight"] == 0 for pool in found.values())


async def back(http: httpx.AsyncClient) -> bool:
    found = await breaking.pools(http)
    return all(pool["available"] and not pool["ejected"] for pool in found.values())


@pytest.mark.parametrize("profile", ["ngram", "vanilla"])
async def test_a_killed_replica_costs_no_stream(service: Service, profile: str) -> None:
    """Every client gets the text of an unbroken stream, in well-formed events; the counters agree."""
    async with client(service) as http:
        before = await breaking.failovers(http)
        streams, expected = await broken(service, profile, AT_ONCE)
        complaints = {s.prompt: found for s in streams if (found := s.complaints(*expected[s.prompt]))}
        assert not complaints
        resumed = [stream for stream in streams if stream.resumed]
        moved = sum(stream.details["failovers"] for stream in streams)
        print(
            f"{profile}: {len(streams)} streams, {moved} moved, {len(resumed)} of them after they had begun"
        )
        assert resumed
        after = await breaking.failovers(http)
        counted = {stage: after[stage] - before.get(stage, 0.0) for stage in after}
        assert counted["mid_stream"] == len(resumed)
        assert sum(counted.values()) == moved
        decisions = (await http.get(f"/admin/v1/decisions?limit={AT_ONCE}")).json()["decisions"]
        assert {decision["result"] for decision in decisions} == {"completed"}
        pool = (await breaking.pools(http))["vanilla"]
        assert pool["available"]
        await breaking.until(lambda: back(http), 60)


async def test_a_pool_of_several_outlives_one_of_them(service: Service) -> None:
    """While one replica is replaced the pool never counts as away, and its other replica answers."""
    async with client(service) as http:
        await breaking.until(lambda: back(http), 60)
        killed = breaking.replicas(service.processes(), "vanilla")[0]
        breaking.kill(killed)
        seen = set()
        for body in bodies(20, max_tokens=4):
            response = await http.post(
                "/v1/chat/completions", json=body, headers={"X-Specroute-Route": "vanilla"}
            )
            assert response.status_code == httpx.codes.OK
            seen.add((await breaking.pools(http))["vanilla"]["available"])
        assert seen == {True}


async def test_when_all_engines_are_gone(service: Service) -> None:
    """Streams end cleanly, or are late; requests are told when to come back; all is well again by itself."""
    async with client(service) as http:
        await breaking.until(lambda: back(http), 60)
        wanted = bodies(6)
        answers = await asyncio.gather(*(breaking.whole(http, body) for body in wanted))
        running = [asyncio.create_task(breaking.read(http, body, {})) for body in wanted]
        await asyncio.sleep(0.5)
        for profile in ("vanilla", "ngram"):
            for process in breaking.replicas(service.processes(), profile):
                breaking.kill(process)
        streams = await asyncio.gather(*running)
        for stream, answer in zip(streams, answers, strict=True):
            if stream.error is None:  # a replica was back before it was given up
                assert stream.complaints(*answer) == []
            else:
                assert stream.error["code"] == httpx.codes.SERVICE_UNAVAILABLE
                assert stream.done or stream.status == httpx.codes.SERVICE_UNAVAILABLE

        async def answered() -> bool:
            response = await http.post("/v1/chat/completions", json=bodies(1, max_tokens=2)[0])
            assert response.status_code == httpx.codes.OK or response.headers["retry-after"]
            return response.status_code == httpx.codes.OK

        waited_s = await breaking.until(answered, 60)
        print(f"answered again {waited_s:.1f} s after the last engine was killed")
        await breaking.until(lambda: idle(http), 20)
