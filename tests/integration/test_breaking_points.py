"""Too many requests for slow fake engines on a real Ray Serve; then engines are killed while streams run."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import mean, median
from typing import Any

import breaking
import httpx
import pytest
from services import MODEL, Service, policy, running
from waiting import ANSWER_S, until, until_async

pytestmark = pytest.mark.integration

SEQUENCES = 6
"""That a replica decodes at once."""
SLOTS = 3 * SEQUENCES
GREEDY = 3 * SLOTS
"""Clients of one tenant: three times what can be decoded."""
POLITE = 2
"""Requests at once; its share would be half of the slots."""
ANSWERS = 6
"""Of every polite client."""
TOKENS = 120
AT_ONCE = 12


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two replicas that decode plainly, and one that speculates."""
    profiles = [
        {"name": "vanilla", "replicas": 2, "max_num_seqs": SEQUENCES},
        {"name": "ngram", "method": "ngram", "k": 4, "max_num_seqs": SEQUENCES},
    ]
    with running(
        tmp_path_factory.mktemp("breaking"),
        policy("breaking"),
        profiles=profiles,
        fake_engines={"step_ms": 40, "prefill_ms": 20},
    ) as service:
        yield service


def client(service: Service) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(base_url=service.url, timeout=ANSWER_S, limits=limits)


async def idle(http: httpx.AsyncClient) -> bool:
    return all(pool["in_flight"] == 0 for pool in (await breaking.pools(http)).values())


async def back(http: httpx.AsyncClient) -> bool:
    found = await breaking.pools(http)
    return all(pool["available"] and not pool["ejected"] for pool in found.values())


class Turns:
    """How many answers have been given, to whomever: time as those in line feel it, on any machine."""

    done = 0


@dataclass
class Tenant:
    """What its clients saw: how many answers others got while one waited for an answer, or for a refusal."""

    name: str
    turns: Turns
    statuses: Counter[int] = field(default_factory=Counter)
    waited: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)
    retry_after: list[int] = field(default_factory=list)

    async def ask(self, http: httpx.AsyncClient) -> None:
        body = {"model": MODEL, "prompt": "x", "max_tokens": 30}
        headers = {"X-Specroute-Tenant": self.name, "X-Specroute-Route": "vanilla"}
        began, before = time.monotonic(), self.turns.done
        response = await http.post("/v1/completions", json=body, headers=headers)
        overtaken = self.turns.done - before
        self.statuses[response.status_code] += 1
        if response.status_code == httpx.codes.OK:
            self.turns.done += 1
            self.waited.append(overtaken)
            self.took_s.append(time.monotonic() - began)
        else:
            self.refused.append(overtaken)
            self.retry_after.append(int(response.headers["retry-after"]))

    async def insist(self, http: httpx.AsyncClient, stop: asyncio.Event) -> None:
        """Ask for more at once, whatever the answer was."""
        while not stop.is_set():
            refused = len(self.refused)
            await self.ask(http)
            if len(self.refused) > refused:
                await asyncio.sleep(0.2)


def gauges(service: Service) -> dict[str, float]:
    """The admission's metrics."""
    lines = httpx.get(f"{service.url}/metrics", timeout=ANSWER_S).raise_for_status().text.splitlines()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines)
        if name.startswith(("specroute_admission", "specroute_refused_total"))
    }


async def test_a_polite_tenant_notices_little_of_a_greedy_one(service: Service) -> None:
    """It is never refused and comes first; the greedy one's overflow is told when to come back, at once."""
    turns, stop = Turns(), asyncio.Event()
    greedy, polite = Tenant("greedy", turns), Tenant("polite", turns)
    async with client(service) as http:
        crowd = [asyncio.create_task(greedy.insist(http, stop)) for _ in range(GREEDY)]
        await until_async(lambda: greedy.statuses[429] > 0 and greedy.statuses[200] > SLOTS)
        # The first ones found free slots; those who ask now are behind as many as may wait.
        greedy.waited.clear()
        seen = await asyncio.to_thread(gauges, service)
        assert seen["specroute_admission_slots"] >= SLOTS
        assert seen["specroute_admission_waiting"] <= 2 * seen["specroute_admission_slots"]

        async def converse() -> None:
            for _ in range(ANSWERS):
                await polite.ask(http)

        await asyncio.gather(*(converse() for _ in range(POLITE)))
        stop.set()
        await asyncio.gather(*crowd)
    print(
        f"slots {seen['specroute_admission_slots']:g}; greedy {dict(greedy.statuses)}, answered after "
        f"{mean(greedy.took_s):.3f} s and {median(greedy.waited):g} others, refused after "
        f"{median(greedy.refused):g} others; polite answered after {mean(polite.took_s):.3f} s and "
        f"{median(polite.waited):g} others; Retry-After {sorted(set(greedy.retry_after))}"
    )
    assert polite.statuses == {200: POLITE * ANSWERS}
    assert set(greedy.statuses) == {200, 429}
    assert min(greedy.retry_after) >= 1
    assert median(polite.waited) < median(greedy.waited)
    assert median(greedy.refused) < median(greedy.waited)

    def told() -> float:
        found = gauges(service)
        return sum(found[f'specroute_refused_total{{cause="{c}"}}'] for c in ("fair_share", "queue_full"))

    until(lambda: told() == len(greedy.refused))


def test_afterwards_everything_is_as_before(service: Service) -> None:
    """Nothing is in flight, nobody waits, and who asks is let in."""
    until(lambda: all(not pool["in_flight"] for pool in service.get("/admin/v1/replicas")["pools"]))
    found = gauges(service)
    assert (found["specroute_admission_running"], found["specroute_admission_waiting"]) == (0, 0)
    assert service.answers()


async def test_a_deadline_is_kept_in_line(service: Service) -> None:
    """With the header a client says how long it would wait; nothing of it is left afterwards."""
    body = {"model": MODEL, "prompt": "x", "max_tokens": 200}
    async with client(service) as http:
        asked = [
            http.post("/v1/completions", json=body, headers={"X-Specroute-Deadline": "1s"})
            for _ in range(SLOTS + 2)
        ]
        statuses = {answer.status_code for answer in await asyncio.gather(*asked)}
    assert statuses <= {429, 504}
    until(lambda: gauges(service)["specroute_admission_running"] == 0)


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
    """Streams on one pool, a replica of which is killed while they run; and what they should say."""
    async with client(service) as http:
        wanted = bodies(count)
        answers = await asyncio.gather(*(breaking.whole(http, body) for body in wanted))
        route = {"X-Specroute-Route": "vanilla" if profile == "vanilla" else "speculative"}
        seen: list[breaking.Stream] = []
        streams = [asyncio.create_task(breaking.read(http, body, route, seen)) for body in wanted]
        # More than one of two replicas decodes at once, so that either has some.
        enough = SEQUENCES + 1 if profile == "vanilla" else SEQUENCES // 2
        await until_async(lambda: sum(stream.begun for stream in seen) >= enough, every_s=0.01)
        breaking.kill(breaking.replicas(service.processes(), profile)[0])
        done = await asyncio.gather(*streams)
        await until_async(lambda: idle(http))
        return list(done), {
            body["messages"][0]["content"]: answer for body, answer in zip(wanted, answers, strict=True)
        }


@pytest.mark.parametrize("profile", ["ngram", "vanilla"])
async def test_a_killed_replica_costs_no_stream(service: Service, profile: str) -> None:
    """Every client gets the text of an unbroken stream, in well-formed events; the counters agree."""
    async with client(service) as http:
        await until_async(lambda: back(http))
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
        await until_async(lambda: back(http))


async def test_a_pool_of_several_outlives_one_of_them(service: Service) -> None:
    """While one replica is replaced, its other replica answers."""
    async with client(service) as http:
        await until_async(lambda: back(http))
        breaking.kill(breaking.replicas(service.processes(), "vanilla")[0])
        seen: Counter[bool] = Counter()
        for body in bodies(20, max_tokens=4):
            response = await http.post(
                "/v1/chat/completions", json=body, headers={"X-Specroute-Route": "vanilla"}
            )
            assert response.status_code == httpx.codes.OK
            seen[(await breaking.pools(http))["vanilla"]["available"]] += 1
        # Where polls take longer than they may, a pool counts as away now and then.
        print(f"after each answer, whether the pool counted as available: {dict(seen)}")
        assert seen[True] > 0


async def test_when_all_engines_are_gone(service: Service) -> None:
    """Streams end cleanly, or are late; requests are told when to come back; all is well again by itself."""
    async with client(service) as http:
        await until_async(lambda: back(http))
        wanted = bodies(6)
        answers = await asyncio.gather(*(breaking.whole(http, body) for body in wanted))
        seen: list[breaking.Stream] = []
        streams = [asyncio.create_task(breaking.read(http, body, {}, seen)) for body in wanted]
        await until_async(lambda: any(stream.begun for stream in seen), every_s=0.01)
        for profile in ("vanilla", "ngram"):
            for process in breaking.replicas(service.processes(), profile):
                breaking.kill(process)
        for stream, answer in zip(await asyncio.gather(*streams), answers, strict=True):
            if stream.error is None:  # a replica was back before it was given up
                assert stream.complaints(*answer) == []
            else:
                assert stream.error["code"] == httpx.codes.SERVICE_UNAVAILABLE
                assert stream.done or stream.status == httpx.codes.SERVICE_UNAVAILABLE

        async def answered() -> bool:
            response = await http.post("/v1/chat/completions", json=bodies(1, max_tokens=2)[0])
            assert response.status_code == httpx.codes.OK or response.headers["retry-after"]
            return response.status_code == httpx.codes.OK

        waited_s = await until_async(answered)
        print(f"answered again {waited_s:.1f} s after the last engine was killed")
        await until_async(lambda: idle(http))
