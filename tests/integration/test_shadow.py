"""Shadow mode on fake engines that copy: everything is decided and learned, and served plainly."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from services import MODEL, Service, policy, until

pytestmark = pytest.mark.integration

REQUESTS = 60
LEARNED_S = 20.0


@pytest.fixture(scope="module")
def shadowing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service in mode shadow, whose answers repeat their prompts."""
    folder: Path = tmp_path_factory.mktemp("shadow")
    (folder / "policy.yaml").write_text(policy("shadow", mode="shadow", allow_overrides=False))
    service = Service(
        folder,
        policy={"path": str(folder / "policy.yaml")},
        fake_engines={"step_ms": 4, "prefill_ms": 2, "copying": True, "alpha": 0.95},
    )
    try:
        yield service.wait_until_ready()
    finally:
        service.end(signal.SIGINT, group=True)


def ask(service: Service, number: int) -> tuple[str, str]:
    """One request: its route and why."""
    words = " ".join(f"word{(7 * number + i) % 40}" for i in range(60))
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": words}],
        "max_tokens": 48,
        "temperature": 0,
        "metadata": {"task": "rag"},
    }
    response = httpx.post(f"{service.url}/v1/chat/completions", json=body, timeout=60).raise_for_status()
    return response.headers["x-specroute-route"], response.headers["x-specroute-reason"]


def test_shadow_decides_and_learns_and_serves_plainly(shadowing: Service) -> None:
    """Nobody gets drafts, every decision says what it intended, and replays make it a measured prediction."""
    with ThreadPoolExecutor(4) as pool:
        served = set(pool.map(lambda number: ask(shadowing, number), range(REQUESTS)))
    assert served == {("vanilla", "shadow")}

    def learned() -> float:
        entries = shadowing.get("/admin/v1/alpha?task=rag")["entries"]
        return sum(e["replayed_requests"] for e in entries if e["profile"] == "ngram" and e["tenant"] is None)

    until(lambda: learned() > 0, LEARNED_S)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda number: ask(shadowing, number), range(REQUESTS))) == {
            ("vanilla", "shadow")
        }
    decisions = shadowing.get(f"/admin/v1/decisions?limit={REQUESTS}")["decisions"]
    assert all(decision["intended"] and decision["k"] == 0 for decision in decisions)
    assert any(decision["intended"][1] > 0 for decision in decisions)
    report = shadowing.get("/admin/v1/shadow")
    print(f"shadow: {report}")
    assert report["requests"] == 2 * REQUESTS
    assert 0 < report["measured_share"] <= 1
    assert report["predicted_speedup"] > 1
    assert 0 < report["predicted_saving"] < 1
