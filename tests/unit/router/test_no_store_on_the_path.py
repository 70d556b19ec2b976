"""No request waits for the store: every store call is watched, and none is made in a request's context."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import httpx
import pytest
from app_client import client_of
from fakes import (
    CHAT,
    MESSAGES,
    FakePool,
    Harness,
    gone,
    last,
    more,
    opening,
    policy_text,
    settled,
    whole,
)

from router.canary_store import FakeCanaryStore
from router.fake_policy_store import FakePolicyStore
from router.fake_store import FakeStore
from router.policy_sync import PolicySync
from router.preference_store import FakePreferenceStore
from router.stats_sync import StatsSync, SyncSettings
from router.tenancy import Tenancy

pytestmark = pytest.mark.unit

REQUEST: ContextVar[str] = ContextVar("REQUEST", default="")
"""Inherited by every task that a request starts, so that handing the wait to another task shows too."""
BODY = {"messages": MESSAGES}
SPEC: dict[str, Any] = {
    "allow_overrides": True,
    "canary": {"policy": "next.yaml", "share": 0.5},
    "tenants": {"acme": {"self_service": {"threshold": {"min": 0.1, "max": 0.9}}}},
}
KINDS: dict[str, Callable[[httpx.AsyncClient], Any]] = {
    "whole": lambda client: client.post(CHAT, json=BODY),
    "stream": lambda client: client.post(CHAT, json=BODY | {"stream": True}),
    "completion": lambda client: client.post("/v1/completions", json={"prompt": "x"}),
    "tenant": lambda client: client.post(CHAT, json=BODY, headers={"X-Specroute-Tenant": "acme"}),
    "task": lambda client: client.post(CHAT, json=BODY, headers={"X-Specroute-Task": "qa"}),
    "plain": lambda client: client.post(CHAT, json=BODY, headers={"X-Specroute-Route": "vanilla"}),
    "details": lambda client: client.post(CHAT, json=BODY, headers={"X-Specroute-Details": "1"}),
    "bad": lambda client: client.post(CHAT, content=b"{"),
    "models": lambda client: client.get("/v1/models"),
    "health": lambda client: client.get("/healthz"),
    "ready": lambda client: client.get("/readyz"),
    "metrics": lambda client: client.get("/metrics"),
    "alpha": lambda client: client.get("/admin/v1/alpha"),
    "decisions": lambda client: client.get("/admin/v1/decisions"),
    "own alpha": lambda client: client.get("/v1/specroute/alpha", headers={"X-Specroute-Tenant": "acme"}),
}


class Watched:
    """A store whose every coroutine notes the request in whose context it is awaited."""

    def __init__(self, store: object, calls: list[str]) -> None:
        self._store = store
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def watched(*args: Any, **options: Any) -> Any:
            self._calls.append(REQUEST.get())
            await asyncio.sleep(0)
            return await method(*args, **options)

        return watched


class Running:
    """A service, its client, and the store calls so far: each the request that made it, or empty."""

    def __init__(self, harness: Harness, client: httpx.AsyncClient, calls: list[str]) -> None:
        self.harness, self.client, self.calls = harness, client, calls

    async def ask(self, kind: str) -> httpx.Response:
        """One request, in a context of its own."""

        async def asked() -> httpx.Response:
            REQUEST.set(kind)
            answer: httpx.Response = await KINDS[kind](self.client)
            return answer

        return await asyncio.create_task(asked())


@asynccontextmanager
async def running(folder: Path, ngram: FakePool) -> AsyncIterator[Running]:
    """Everything that talks to the store does so all the time, in the background."""
    (folder / "next.yaml").write_text(policy_text("next"))
    harness = await Harness(folder, ngram=ngram, **SPEC).ready()
    calls: list[str] = []
    turn = lambda _: asyncio.sleep(0)  # noqa: E731 - reads best beside its uses
    stats = StatsSync(
        harness.buffer,
        Watched(FakeStore(), calls),
        settings=SyncSettings(),
        clock=harness.clock,
        sleep=turn,
    )
    sync = PolicySync(harness.policies, sleep=turn)
    await sync.start(Watched(FakePolicyStore(), calls))
    harness.preferences.attach(Watched(FakePreferenceStore(), calls))
    canaries = Watched(FakeCanaryStore(), calls)

    async def follow_canary() -> None:
        while True:
            await harness.canary_watch.step(canaries)

    stats.start()
    loops = [
        asyncio.create_task(sync.run()),
        asyncio.create_task(harness.preferences.watch(0, turn)),
        asyncio.create_task(follow_canary()),
    ]
    async with client_of(harness, tenancy=Tenancy(trusted_header=True)) as client:
        while harness.canary.trial is None:  # noqa: ASYNC110 - its file is read in a thread
            await asyncio.sleep(0)
        try:
            yield Running(harness, client, calls)
        finally:
            for task in loops:
                task.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await stats.close()


async def test_no_request_awaits_the_store(tmp_path: Path) -> None:
    """Of all kinds, with streams, failovers and a canary, while every background loop is busy with it."""
    scripts = [[whole()], [opening(), more(), last()], [gone()], [opening(), gone()]] * 40
    async with running(tmp_path, FakePool(*scripts)) as found:
        for _ in range(5):
            for kind in KINDS:
                await found.ask(kind)
        assert await settled(lambda: len(found.calls) > 100, 10_000)
        assert len(found.harness.outcomes) >= 5 * 7
        assert {outcome.canary for outcome in found.harness.outcomes} == {True, False}
    assert [kind for kind in found.calls if kind] == []


SETTINGS: dict[str, Callable[[httpx.AsyncClient], Any]] = {
    "get": lambda client: client.get("/v1/specroute/preferences", headers={"X-Specroute-Tenant": "acme"}),
    "put": lambda client: client.put(
        "/v1/specroute/preferences",
        json={"threshold": {"enable_above": 0.5, "disable_below": 0.4}},
        headers={"X-Specroute-Tenant": "acme"},
    ),
}


@pytest.mark.parametrize("kind", SETTINGS)
async def test_the_watch_sees_who_awaits_the_store(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Preferences themselves are read and written there, which shows."""
    monkeypatch.setitem(KINDS, kind, SETTINGS[kind])
    async with running(tmp_path, FakePool()) as found:
        assert (await found.ask(kind)).status_code == httpx.codes.OK
    assert set(found.calls) == {"", kind}
