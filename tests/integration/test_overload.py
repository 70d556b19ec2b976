"""Three times what can be decoded, from one tenant, on a real Ray Serve with fake engines."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import mean

import breaking
import httpx
import pytest
from services import MODEL, Service, policy, until

pytestmark = pytest.mark.integration

SLOTS = 8
GREEDY = 3 * SLOTS
POLITE = 2
"""Requests at once; its share would be half of the slots."""
ANSWERS = 10
"""Of every polite client."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two pools of four slots each."""
    folder = tmp_path_factory.mktemp("overload")
    file = folder / "policy.yaml"
    file.write_text(policy("overload"))
    service = Service(
        folder / "service",
        profiles=[
            {"name": "vanilla", "max_num_seqs": SLOTS // 2},
            {"name": "ngram", "method": "ngram", "k": 4, "max_num_seqs": SLOTS // 2},
        ],
        fake_engines={"step_ms": 25, "prefill_ms": 20},
        policy={"path": str(file)},
    )
    try:
        yield service.wait_until_ready()
    finally:
        service.end(signal.SIGINT, group=True)


@dataclass
class Tenant:
    """What its clients saw."""

    name: str
    statuses: Counter[int] = field(default_factory=Counter)
    first_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    retry_after: list[int] = field(default_factory=list)

    async def ask(self, http: httpx.AsyncClient) -> None:
        body = {"model": MODEL, "prompt": "x", "max_tokens": 24, "stream": True}
        headers = {"X-Specroute-Tenant": self.name, "X-Specroute-Route": "vanilla"}
        began = time.monotonic()
        async with http.stream("POST", "/v1/completions", json=body, headers=headers) as response:
            took_s = time.monotonic() - began
            text = (await response.aread()).decode()
        self.statuses[response.status_code] += 1
        if response.status_code == httpx.codes.OK:
            assert text.endswith("data: [DONE]\n\n")
            self.first_s.append(took_s)
        else:
            self.refused_s.append(took_s)
            self.retry_after.append(int(response.headers["retry-after"]))

    async def insist(self, http: httpx.AsyncClient, stop: asyncio.Event) -> None:
        """Ask for more at once, whatever the answer was."""
        while not stop.is_set():
            refused = len(self.refused_s)
            await self.ask(http)
            if len(self.refused_s) > refused:
                await asyncio.sleep(0.2)


def gauges(service: Service) -> dict[str, float]:
    """The admission's metrics."""
    lines = httpx.get(f"{service.url}/metrics", timeout=10).text.splitlines()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines)
        if name.startswith(("specroute_admission", "specroute_refused_total"))
    }


async def test_a_polite_tenant_notices_little_of_a_greedy_one(service: Service) -> None:
    """It is never refused and comes first; the greedy one's overflow is told when to come back, at once."""
    greedy, polite = Tenant("greedy"), Tenant("polite")
    stop = asyncio.Event()
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=service.url, timeout=60, limits=limits) as http:
        crowd = [asyncio.create_task(greedy.insist(http, stop)) for _ in range(GREEDY)]

        async def refusing() -> bool:
            return greedy.statuses[429] > 0 and greedy.statuses[200] > SLOTS

        await breaking.until(refusing, 30)
        greedy.first_s.clear()  # the first ones found free slots
        seen = await asyncio.to_thread(gauges, service)
        assert seen["specroute_admission_slots"] >= SLOTS
        assert seen["specroute_admission_waiting"] <= 2 * seen["specroute_admission_slots"]

        async def converse() -> None:
            for _ in range(ANSWERS):
                await polite.ask(http)

        await asyncio.gather(*(converse() for _ in range(POLITE)))
        stop.set()
        await asyncio.gather(*crowd)
    assert polite.statuses == {200: POLITE * ANSWERS}
    assert set(greedy.statuses) == {200, 429}
    assert min(greedy.retry_after) >= 1
    # By how much depends on the machine; the waits differ fourfold on an idle one.
    assert mean(polite.first_s) < mean(greedy.first_s)
    assert mean(greedy.refused_s) < mean(greedy.first_s)
    refused = gauges(service)
    assert sum(
        refused[f'specroute_refused_total{{cause="{c}"}}'] for c in ("fair_share", "queue_full")
    ) == len(greedy.refused_s)
    print(
        f"slots {seen['specroute_admission_slots']:g}; greedy {dict(greedy.statuses)}, first token after "
        f"{mean(greedy.first_s):.3f} s, at most {max(greedy.first_s):.3f} s, refused after "
        f"{mean(greedy.refused_s):.3f} s; polite first token after {mean(polite.first_s):.3f} s, at most "
        f"{max(polite.first_s):.3f} s; Retry-After {sorted(set(greedy.retry_after))}"
    )


def test_afterwards_everything_is_as_before(service: Service) -> None:
    """Nothing is in flight, nobody waits, and who asks is let in."""
    until(lambda: all(not pool["in_flight"] for pool in service.get("/admin/v1/replicas")["pools"]), 10)
    found = gauges(service)
    assert (found["specroute_admission_running"], found["specroute_admission_waiting"]) == (0, 0)
    assert service.answers()


async def test_a_deadline_is_kept_in_line(service: Service) -> None:
    """With the header a client says how long it would wait; nothing of it is left afterwards."""
    limits = httpx.Limits(max_connections=None)
    body = {"model": MODEL, "prompt": "x", "max_tokens": 200}
    async with httpx.AsyncClient(base_url=service.url, timeout=60, limits=limits) as http:
        asked = [
            http.post("/v1/completions", json=body, headers={"X-Specroute-Deadline": "1s"})
            for _ in range(SLOTS + 2)
        ]
        statuses = {answer.status_code for answer in await asyncio.gather(*asked)}
    assert statuses <= {429, 504}
    until(lambda: gauges(service)["specroute_admission_running"] == 0, 10)
