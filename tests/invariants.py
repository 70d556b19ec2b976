"""What has to hold of a service after whatever was done to it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import breaking
import httpx
import psutil
from services import Service
from waiting import ANSWER_S, until_async

MEMORY_MIB = 96
"""How much larger a process may be after some thousand requests; `make soak` measures its slope."""


def routers(service: Service) -> list[tuple[psutil.Process, str]]:
    """Every router's process, and where it answers without the proxy in front."""
    found = []
    for process in breaking.replicas(service.processes(), "router"):
        listening = [c.laddr for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        direct = [address.port for address in listening if address.ip == "127.0.0.1"]
        found += [(process, f"http://127.0.0.1:{port}") for port in direct[:1]]
    return found


def roles(service: Service) -> Counter[str]:
    """How many processes of each kind the service consists of."""
    found: Counter[str] = Counter()
    for process in service.processes():
        try:
            name = " ".join(process.cmdline()).strip()
            if name.startswith("ray::ServeReplica:"):
                found[name.split(".")[0]] += 1
            elif process.name() == "haproxy":
                found["haproxy"] += 1
        except psutil.Error:  # it is ending
            continue
    return found


async def counted(urls: list[str]) -> int:
    """Requests that the routers have counted, all together."""
    total = 0.0
    async with httpx.AsyncClient(timeout=ANSWER_S) as http:
        for url in urls:
            for line in (await http.get(f"{url}/metrics")).raise_for_status().text.splitlines():
                if line.startswith("specroute_requests_total{"):
                    total += float(line.rsplit(" ", 1)[1])
    return round(total)


async def in_flight(urls: list[str]) -> int:
    """Requests that the routers hold to be under way, and their replicas to be running."""
    found = 0
    async with httpx.AsyncClient(timeout=ANSWER_S) as http:
        for url in urls:
            for pool in (await http.get(f"{url}/admin/v1/replicas")).raise_for_status().json()["pools"]:
                status: dict[str, Any] = pool["status"] or {}
                found += pool["in_flight"] + status.get("running", 0) + status.get("waiting", 0)
    return found


class Books:
    """The state of a service before something is done to it; what differs afterwards."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._roles = roles(service)
        self._routers = routers(service)
        self.since = 0
        self._memory = {process.pid: process.memory_info().rss for process, _ in self._routers}

    async def open(self) -> Books:
        """Read the counters; when no HAProxy is just taking over from another."""

        def calm() -> bool:
            self._roles = roles(self._service)
            return self._roles["haproxy"] == 1

        await until_async(calm)
        self._counted = await counted([url for _, url in self._routers])
        return self

    async def settle(self, limit_s: float = 300) -> None:
        """Return when all processes are there again, no more than before, and nothing is in flight."""

        async def settled() -> bool:
            if await asyncio.to_thread(roles, self._service) != self._roles:
                return False
            found = await asyncio.to_thread(routers, self._service)
            if len(found) != self._roles["ray::ServeReplica:specroute:router"]:
                return False
            return await in_flight([url for _, url in found]) == 0

        try:
            await until_async(settled, limit_s)
        except AssertionError as error:
            raise AssertionError(f"{error}: {roles(self._service)} instead of {self._roles}") from None

    async def counts(self, wanted: int) -> None:
        """Return when so many requests were counted since; only where no router was replaced."""

        async def agree() -> bool:
            self.since = await counted([url for _, url in self._routers]) - self._counted
            return self.since == wanted

        try:
            await until_async(agree, 120)
        except AssertionError:
            raise AssertionError(f"{self.since} requests were counted, not {wanted}") from None

    def growth_mib(self) -> float:
        """By how much the routers that are still there have grown, the worst of them."""
        now = {process.pid: process.memory_info().rss for process, _ in routers(self._service)}
        return max([(now[pid] - rss) / 2**20 for pid, rss in self._memory.items() if pid in now], default=0.0)
