"""Three times what real engines can decode at once, from one tenant, and another that asks for little."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median

import breaking
import httpx
import pytest
from scenario_table import ROWS, Row
from services import MODEL, Service, policy
from waiting import ANSWER_S, until_async

pytestmark = pytest.mark.chaos

SLOTS = 8
GREEDY = 3 * SLOTS
POLITE = 2
ANSWERS = 10
"""Of every polite client."""
TOKENS = 24


@dataclass
class Tenant:
    """What its clients saw."""

    name: str
    statuses: Counter[int] = field(default_factory=Counter)
    first_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    broken: int = 0

    async def ask(self, http: httpx.AsyncClient) -> None:
        """One stream, read to its end."""
        body = {"model": MODEL, "prompt": "Once upon a time", "max_tokens": TOKENS, "stream": True}
        began = time.monotonic()
        headers = {"X-Specroute-Tenant": self.name}
        async with http.stream("POST", "/v1/completions", json=body, headers=headers) as response:
            took_s = time.monotonic() - began
            text = (await response.aread()).decode()
        self.statuses[response.status_code] += 1
        if response.status_code == httpx.codes.OK:
            self.broken += not text.endswith("data: [DONE]\n\n")
            self.first_s.append(took_s)
        else:
            self.broken += int(response.headers["retry-after"]) < 1
            self.refused_s.append(took_s)

    async def insist(self, http: httpx.AsyncClient, stop: asyncio.Event) -> None:
        """Ask for more, soon after a refusal."""
        while not stop.is_set():
            refused = len(self.refused_s)
            await self.ask(http)
            if len(self.refused_s) > refused:
                await asyncio.sleep(0.5)

    def report(self) -> dict[str, object]:
        """The figures, times in seconds."""
        times = {"first_token": self.first_s, "refused": self.refused_s}
        return {
            "statuses": dict(self.statuses),
            **{
                f"{name}_{what}_s": round(of(values), 3)
                for name, values in times.items()
                for what, of in (("median", median), ("mean", mean), ("most", max))
                if values
            },
        }


async def test_engines_under_three_times_their_load(tmp_path: Path) -> None:
    """Only 200 and 429; the polite tenant is never refused; afterwards nothing is in flight, and all is answered."""
    file = tmp_path / "policy.yaml"
    file.write_text(policy("overload", limits={"deadline": "600s"}))
    service = Service(
        tmp_path / "service",
        profiles=[
            {"name": "vanilla", "max_num_seqs": SLOTS // 2},
            {"name": "ngram", "method": "ngram", "k": 4, "max_num_seqs": SLOTS // 2},
        ],
        fake_engines=None,
        policy={"path": str(file)},
    ).wait_until_ready()
    greedy, polite, after = Tenant("greedy"), Tenant("polite"), Tenant("after")
    stop = asyncio.Event()
    try:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=service.url, timeout=ANSWER_S * 3, limits=limits) as http:
            crowd = [asyncio.create_task(greedy.insist(http, stop)) for _ in range(GREEDY)]
            await until_async(lambda: greedy.statuses[429] > 0 and greedy.statuses[200] > SLOTS)

            async def converse() -> None:
                for _ in range(ANSWERS):
                    await polite.ask(http)

            await asyncio.gather(*(converse() for _ in range(POLITE)))
            stop.set()
            await asyncio.gather(*crowd)

            async def idle() -> bool:
                return not any(pool["in_flight"] for pool in (await breaking.pools(http)).values())

            await until_async(idle)
            await asyncio.gather(*(after.ask(http) for _ in range(SLOTS)))
    finally:
        service.end(signal.SIGINT, group=True)
    tenants = (greedy, polite, after)
    print(json.dumps({tenant.name: tenant.report() for tenant in tenants}, indent=1))
    asked = sum(sum(tenant.statuses.values()) for tenant in tenants)
    ROWS.append(Row("three times the load", "real", asked, failed=sum(tenant.broken for tenant in tenants)))
    assert not any(tenant.broken for tenant in tenants)
    assert set(greedy.statuses) == {200, 429}
    assert polite.statuses == {200: POLITE * ANSWERS}
    assert after.statuses == {200: SLOTS}
