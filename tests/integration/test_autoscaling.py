"""Pools with autoscaling on fake engines: their engines follow a mix of routes that shifts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest
from services import MODEL, Service, policy, running
from waiting import ANSWER_S, until

pytestmark = pytest.mark.integration

SLOTS = 4
LIMIT_S = 300.0
CLIENTS = 16
"""More than the slots of three engines: a pool of one that is asked cannot do without the other."""


def pool(name: str, **more: Any) -> dict[str, Any]:
    """One or two engines, as busy as can be, that come and go as soon as that is decided."""
    scaling = {"max_replicas": 2, "target_load": 1.0, "upscale_delay_s": 0, "downscale_delay_s": 0}
    return {"name": name, "max_num_seqs": SLOTS, "autoscaling": scaling, **more}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    profiles = [pool("vanilla"), pool("ngram", method="ngram", k=4)]
    text = policy("by-request", mode="threshold", limits={"deadline": "900s", "max_concurrency": 1000})
    fake = {"step_ms": 40, "prefill_ms": 5}
    folder = tmp_path_factory.mktemp("scaled")
    with running(folder, text, profiles=profiles, fake_engines=fake, drain_s=5) as found:
        yield found


@contextmanager
def asking(service: Service, route: str) -> Iterator[None]:
    """So many clients at once ask for this route, again and again."""
    ended = threading.Event()

    def ask() -> None:
        body = {"model": MODEL, "prompt": "Tell me", "max_tokens": 100}
        with httpx.Client(base_url=service.url, timeout=ANSWER_S) as client:
            while not ended.is_set():
                with suppress(httpx.HTTPError):
                    client.post("/v1/completions", json=body, headers={"X-Specroute-Route": route})

    clients = [threading.Thread(target=ask, daemon=True) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield
    finally:
        ended.set()
        for client in clients:
            client.join(ANSWER_S)


def engines(service: Service) -> dict[str, int]:
    """How many each pool has, as the router knows it."""
    pools = service.get("/admin/v1/replicas")["pools"]
    return {pool["profile"]: pool["replicas"] for pool in pools}


def test_engines_follow_a_shifting_mix_of_routes(service: Service) -> None:
    """The pool that is asked grows, the other does not; then that one does; with nobody there, both shrink."""
    assert engines(service) == {"vanilla": 1, "ngram": 1}
    with asking(service, "speculative"):
        until(lambda: engines(service) == {"vanilla": 1, "ngram": 2}, LIMIT_S)
    with asking(service, "vanilla"):
        until(lambda: engines(service)["vanilla"] == 2, LIMIT_S)
    until(lambda: engines(service) == {"vanilla": 1, "ngram": 1}, LIMIT_S)
    answer = httpx.post(
        f"{service.url}/v1/completions", json={"model": MODEL, "prompt": "x"}, timeout=ANSWER_S
    )
    assert answer.status_code == 200
