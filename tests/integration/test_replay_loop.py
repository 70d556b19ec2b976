"""A whole router over fake engines whose drafters copy: what the vanilla pool wrote teaches the n-gram pool."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from services import MODEL, policy
from waiting import ANSWER_S, until_async

from policies.cells import CellKey
from policies.evidence import clusters
from replicas.fake import FakeEngine
from replicas.frames import Call, Frame
from router.ingress import Router
from router.settings import parse_settings

pytestmark = pytest.mark.integration

COPIED = {"code": 0.98, "creative": 0.1}
"""How likely an answer of the task goes on copying."""
PASSAGE = " ".join(f"word{number}" for number in range(120))
COUNT = 8


class Pool:
    """A fake engine in this process, where the router expects a deployment."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self.calls: list[Call] = []

    def serve(
        self, call: Call, home: str = "", avoid: frozenset[str] = frozenset()
    ) -> AsyncGenerator[Frame, None]:
        self.calls.append(call)
        return self._engine.serve(call)

    async def status(self) -> dict[str, Any]:
        return {"running": self._engine.load().running}


@asynccontextmanager
async def running(folder: Path, **fake: Any) -> AsyncIterator[tuple[Router, dict[str, Pool]]]:
    """A started router that sends everything to its vanilla pool."""
    file = folder / "policy.yaml"
    file.write_text(policy("plain", mode="always_vanilla", acceptance={"half_life": "24h"}))
    settings = parse_settings(
        {
            "policy": {"path": str(file)},
            "fake_engines": {"step_ms": 0, "prefill_ms": 0, **fake},
            "http": {"open_admin": True},
        }
    )
    assert settings.fake_engines is not None
    pools = {
        profile.name: Pool(FakeEngine(profile, settings.model, settings.fake_engines))
        for profile in settings.profiles
    }
    router = Router(settings, pools)
    await router.start()
    try:
        await router.parts.pools.poll()
        yield router, pools
    finally:
        await router.close()


async def ask(router: Router) -> None:
    """Some requests of each task, half of them streamed."""
    transport = httpx.ASGITransport(router.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://router", timeout=ANSWER_S) as client:
        for number in range(COUNT):
            for task, share in COPIED.items():
                answer = await client.post(
                    "/v1/completions",
                    json={
                        "model": MODEL,
                        "prompt": f"{task} {number} {PASSAGE}",
                        "max_tokens": 120,
                        "temperature": 0,
                        "stream": bool(number % 2),
                        "metadata": {"task": task, "fake_alpha": share},
                    },
                )
                assert answer.headers["X-Specroute-Route"] == "vanilla"


async def test_plain_answers_teach_the_copying_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one speculative request every task has its lengths of accepted runs at every k, and keeps them."""
    monkeypatch.setenv("SPECROUTE_DATA_DIR", str(tmp_path))
    async with running(tmp_path, copying=True) as (router, pools):
        await ask(router)
        await until_async(lambda: router.parts.replayer.totals.replayed >= COUNT * len(COPIED))
        assert not pools["ngram"].calls
        lengths = {}
        for task in COPIED:
            record = router.parts.buffer.get(CellKey("ngram", task, "low").of_replays())
            assert record is not None
            assert record.lifetime["requests"] == COUNT
            lengths[task] = {each.k: 1 + each.y / each.x for each in clusters(record.counters)}
            assert list(lengths[task]) == list(range(1, 9))
            assert record.counters["tokens:8"] == pytest.approx(COUNT * 119, rel=0.01)  # it fades a little
        assert lengths["code"][8] > 2.5
        assert lengths["code"][8] > lengths["code"][1] + 0.5
        assert lengths["creative"][8] < 1.3
    async with running(tmp_path, copying=True) as (router, _):
        again = router.parts.buffer.get(CellKey("ngram", "code", "low").of_replays())
        assert again is not None
        assert {each.k: 1 + each.y / each.x for each in clusters(again.counters)} == pytest.approx(
            lengths["code"]
        )


async def test_lucky_drafters_are_not_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is counted, and no prompt travels but for streams, which may have to go on elsewhere."""
    monkeypatch.setenv("SPECROUTE_DATA_DIR", str(tmp_path))
    async with running(tmp_path) as (router, pools):
        await ask(router)
        assert len(pools["vanilla"].calls) == COUNT * len(COPIED)
        wanted = {(json.loads(call.body)["stream"], call.prompt_tokens) for call in pools["vanilla"].calls}
        assert wanted == {(True, True), (False, False)}
        assert not any(key.is_of_replays for key, _ in router.parts.buffer.items())
