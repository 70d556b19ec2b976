"""A whole router in this process, its store behind a proxy of ours, and what can happen to a store."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import httpx
from redis import Redis
from services import MODEL, free_port, policy
from waiting import ANSWER_S, until_async

from policies.canary import parse_fields
from policies.cells import CellKey
from replicas.frames import Call, Ending, Frame
from router.ingress import Router
from router.settings import parse_settings
from router.valkey import EmbeddedValkey

TASKS = ("code", "qa")
PREFIX = f"specroute:{{{MODEL}}}:v1:"


class InstantPool:
    """Answers at once."""

    async def serve(
        self, call: Call, home: str = "", avoid: frozenset[str] = frozenset()
    ) -> AsyncGenerator[Frame, None]:
        """One frame."""
        ending = Ending(
            finish_reason="stop",
            prompt_tokens=5,
            cached_tokens=0,
            completion_tokens=4,
            per_step_drafted=(call.k, call.k),
            per_step_accepted=(1, 0),
            counted=True,
            queued_s=0.0,
            ttft_s=0.001,
            decode_s=0.004,
        )
        yield Frame(b'{"id":"x"}', (), 200, "application/json", None, ending, None)

    async def status(self, home: str = "", avoid: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Nothing runs."""
        return {"running": 0}


class Proxy:
    """TCP in front of a server's unix socket. What a black hole swallowed arrives late, as on a network."""

    def __init__(self) -> None:
        self.port = free_port()
        self.path = ""
        self.mode: Literal["forward", "slow", "black hole"] = "forward"
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def listen(self) -> None:
        """Take connections from now on."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)

    async def vanish(self) -> None:
        """Break all connections and take no more."""
        if self._server is not None:
            self._server.close()
        self.drop()

    def drop(self) -> None:
        """Break the connections there are."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            inner_reader, inner_writer = await asyncio.open_unix_connection(self.path)
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(inner_writer)
        with suppress(asyncio.CancelledError):  # the test is over
            await asyncio.gather(self._pump(reader, inner_writer), self._pump(inner_reader, writer))
        self._writers -= {writer, inner_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                if self.mode == "slow":
                    await asyncio.sleep(0.3)
                while self.mode == "black hole":  # noqa: ASYNC110 - a mode, not an event
                    await asyncio.sleep(0.02)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


class Site:
    """The router, the proxy and the server behind it."""

    def __init__(self, folder: Path, server: EmbeddedValkey) -> None:
        (folder / "next.yaml").write_text(
            policy("next", mode="always_speculative", exploration={"share": 0.0, "max_share": 0.0})
        )
        self.spec: dict[str, Any] = {
            "mode": "always_speculative",
            "allow_overrides": True,
            "exploration": {"share": 0.0, "max_share": 0.0},
            "tenants": {"acme": {"self_service": {"threshold": {"min": 0.1, "max": 0.9}}}},
            "canary": {"policy": "next.yaml", "share": 0.5, "stop": {"min_requests": 1_000_000}},
        }
        file = folder / "policy.yaml"
        file.write_text(policy("before", **self.spec))
        self.server, self.proxy = server, Proxy()
        self.use(server)
        settings = {
            "fake_engines": {},
            "tenancy": {"trusted_header": True},
            "http": {"open_admin": True},
            "policy": {"path": str(file)},
            "store": {
                "url": f"redis://127.0.0.1:{self.proxy.port}",
                "timeout_ms": 150,
                "flush_interval_s": 0.05,
            },
        }
        pools = {"vanilla": InstantPool(), "ngram": InstantPool()}
        self.router = Router(parse_settings(settings), pools)
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.router.app()), base_url="http://127.0.0.1", timeout=ANSWER_S
        )
        self.sent = 0
        self.compared = 0

    def use(self, server: EmbeddedValkey) -> None:
        """Connect to this server from the next connection on."""
        self.server, self.proxy.path = server, server.url.removeprefix("unix://")
        self.raw = Redis.from_url(server.url, decode_responses=True)

    @property
    def buffer(self) -> Mapping[CellKey, Any]:
        """What the router believes."""
        return self.router.parts.buffer

    @property
    def canary_runs(self) -> bool:
        return self.router.parts.canary.state.phase == "running"

    @property
    def store_up(self) -> bool:
        return self.router.parts.buffer.store_up

    async def traffic(self, seconds: float, tasks: tuple[str, ...] = TASKS) -> None:
        """Requests one after the other; each must be answered."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            await self.ask(tasks[self.sent % len(tasks)])
            await asyncio.sleep(0.005)

    async def ask(self, task: str) -> None:
        runs = self.canary_runs
        body = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "max_tokens": 9}
        headers = {"X-Specroute-Task": task, "X-Specroute-Tenant": "acme"}
        answer = await self.client.post("/v1/chat/completions", json=body, headers=headers)
        assert answer.status_code == httpx.codes.OK, answer.text
        assert answer.headers["X-Specroute-Policy"].partition("@")[0] in {"before", "next"}
        self.sent += 1
        self.compared += runs

    async def put_preferences(self, above: float) -> httpx.Response:
        return await self.client.put(
            "/v1/specroute/preferences",
            json={"threshold": {"enable_above": above, "disable_below": 0.2}},
            headers={"X-Specroute-Tenant": "acme"},
        )

    async def put_policy(self, name: str) -> httpx.Response:
        etag = (await self.client.get("/admin/v1/policy")).headers["ETag"]
        return await self.client.put(
            "/admin/v1/policy", content=policy(name, **self.spec), headers={"If-Match": etag}
        )

    async def preferences(self) -> Any:
        answer = await self.client.get("/v1/specroute/preferences", headers={"X-Specroute-Tenant": "acme"})
        return answer.json()

    async def alpha(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.client.get("/admin/v1/alpha")).json()
        return found

    def local(self, field: str = "requests") -> int:
        """Requests of all tasks, as the router counts them."""
        return sum(record.lifetime[field] for key, record in self.buffer.items() if key.tenant is None)

    def stored(self) -> int:
        """The same in the store."""
        names = [name for name in self.raw.keys(f"{_glob(PREFIX)}accept:*") if ":tenant:" not in name]
        return sum(int(self.raw.hget(name, "l:requests")) for name in names)

    def stored_canary(self) -> int:
        """Requests of the canary's trial in the store."""
        names = [name for name in self.raw.keys(f"{_glob(PREFIX)}policy:canary:*") if "stopped" not in name]
        counts = [
            parse_fields(
                (k, float(v)) for k, v in self.raw.hgetall(name).items() if not k.startswith("writer:")
            )
            for name in names
        ]
        return round(sum(count.requests for cells in counts for count in cells.values()))

    def epochs(self) -> set[int]:
        """How often cells of tasks were cut in the store."""
        return {int(self.raw.hget(name, "e")) for name in self.raw.keys(f"{_glob(PREFIX)}accept:*")}

    async def settled(self) -> None:
        """Everything sent is in the store, once."""
        await until_async(lambda: self.store_up and self.stored() >= self.sent)
        await asyncio.sleep(0.3)  # whatever would count it again


def _glob(prefix: str) -> str:
    return prefix.replace("{", "[{]").replace("}", "[}]")


@asynccontextmanager
async def site(folder: Path, *, present: bool = True) -> AsyncIterator[Site]:
    """A router that serves; its store answers, if it is `present`."""
    with EmbeddedValkey(folder / "valkey") as server:
        made = Site(folder, server)
        if present:
            await made.proxy.listen()
        await made.router.start()
        try:
            if present:
                await until_async(lambda: made.store_up and made.canary_runs)
            yield made
        finally:
            await made.router.close()
            await made.client.aclose()
            await made.proxy.vanish()
            made.server.stop()


@asynccontextmanager
async def lost(site: Site) -> AsyncIterator[None]:
    """Nobody listens any more."""
    await site.proxy.vanish()
    yield
    await site.proxy.listen()


@asynccontextmanager
async def slow(site: Site) -> AsyncIterator[None]:
    """Every answer takes longer than a router waits."""
    site.proxy.mode = "slow"
    yield
    site.proxy.mode = "forward"


@asynccontextmanager
async def black_holed(site: Site) -> AsyncIterator[None]:
    """Connections open, and no byte comes back."""
    site.proxy.mode = "black hole"
    yield
    site.proxy.mode = "forward"


@asynccontextmanager
async def read_only(site: Site) -> AsyncIterator[None]:
    """A replica whose master is away: it answers, and refuses to write."""
    site.raw.replicaof("127.0.0.1", "1")
    yield
    site.raw.replicaof("NO", "ONE")


@asynccontextmanager
async def out_of_memory(site: Site) -> AsyncIterator[None]:
    """It answers, and has no room for anything new."""
    site.raw.config_set("maxmemory", "1")
    yield
    site.raw.config_set("maxmemory", "0")


@asynccontextmanager
async def restarted(site: Site) -> AsyncIterator[None]:
    """Ended and started again, with its data."""
    await asyncio.to_thread(site.server.stop)
    yield
    site.server.start()  # in this thread: a server ends with the thread that started it
    site.use(site.server)


Fault = Callable[[Site], AbstractAsyncContextManager[None]]
FAULTS: Mapping[str, Fault] = {
    fault.__name__.replace("_", " "): fault
    for fault in (lost, slow, black_holed, read_only, out_of_memory, restarted)
}
