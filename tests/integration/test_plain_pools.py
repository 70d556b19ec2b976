"""A service that decodes plainly, on fake engines that copy: what shadow mode learns, and where conversations go."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import httpx
import pytest
from services import MODEL, Service, policy, running
from waiting import ANSWER_S, until

pytestmark = pytest.mark.integration

REPLICAS = 3
REQUESTS = 60
LEARNED = 15
"""Answers that were replayed when decisions are looked at."""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """In mode shadow, so that every answer comes from one of several plain replicas; answers repeat prompts."""
    profiles = [{"name": "vanilla", "replicas": REPLICAS}, {"name": "ngram", "method": "ngram", "k": 8}]
    fake = {"step_ms": 4, "prefill_ms": 2, "copying": True, "alpha": 0.95}
    text = policy("shadow", mode="shadow", allow_overrides=False, acceptance={"half_life": "24h"})
    with running(tmp_path_factory.mktemp("plain"), text, profiles=profiles, fake_engines=fake) as service:
        yield service


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
    response = httpx.post(
        f"{service.url}/v1/chat/completions", json=body, timeout=ANSWER_S
    ).raise_for_status()
    return response.headers["x-specroute-route"], response.headers["x-specroute-reason"]


def test_shadow_decides_and_learns_and_serves_plainly(plain: Service) -> None:
    """Nobody gets drafts, every decision says what it intended, and replays make it a measured prediction."""
    with ThreadPoolExecutor(4) as pool:
        served = set(pool.map(lambda number: ask(plain, number), range(REQUESTS)))
    assert served == {("vanilla", "shadow")}

    def learned() -> float:
        entries = plain.get("/admin/v1/alpha?task=rag")["entries"]
        return sum(e["replayed_requests"] for e in entries if e["profile"] == "ngram" and e["tenant"] is None)

    until(lambda: learned() > LEARNED)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda number: ask(plain, number), range(REQUESTS))) == {("vanilla", "shadow")}
    until(lambda: plain.get("/admin/v1/shadow")["requests"] == 2 * REQUESTS)
    decisions = plain.get(f"/admin/v1/decisions?limit={REQUESTS}")["decisions"]
    assert all(decision["intended"] and decision["k"] == 0 for decision in decisions)
    assert any(decision["intended"][1] > 0 for decision in decisions)
    report = plain.get("/admin/v1/shadow")
    print(f"shadow: {report}")
    assert 0 < report["measured_share"] <= 1
    assert report["predicted_speedup"] > 1
    assert 0 < report["predicted_saving"] < 1


class Conversation:
    """A client that sends all turns every time, and notes who answered."""

    def __init__(self, service: Service, subject: str) -> None:
        self._url = f"{service.url}/v1/chat/completions"
        self._messages: list[dict[str, str]] = []
        self._subject = subject
        self.replicas: list[str] = []
        self.failovers = 0

    def turn(self) -> None:
        """Ask once more."""
        question = f"Turn {len(self.replicas)}: tell me about {self._subject}."
        self._messages.append({"role": "user", "content": question})
        body: dict[str, Any] = {"model": MODEL, "messages": self._messages, "max_tokens": 40}
        response = httpx.post(self._url, json=body, headers={"X-Specroute-Details": "1"}, timeout=ANSWER_S)
        assert response.status_code == 200, response.text
        answer = response.json()
        self._messages.append(answer["choices"][0]["message"])
        self.replicas.append(answer["specroute"]["replica"])
        self.failovers += answer["specroute"]["failovers"]

    @property
    def moves(self) -> int:
        """Turns that went to another replica than the one before."""
        return sum(before != after for before, after in pairwise(self.replicas))


def talks(service: Service, about: str) -> list[Conversation]:
    """Eight conversations of four turns; the turns of all arrive together."""
    conversations = [Conversation(service, f"{about} {number}") for number in range(8)]
    with ThreadPoolExecutor(len(conversations)) as clients:
        for _ in range(4):
            list(clients.map(Conversation.turn, conversations))
    print([conversation.replicas for conversation in conversations])
    return conversations


def test_turns_go_home_and_conversations_spread(plain: Service) -> None:
    """However many arrive together: they stay with the replica of their first turn, and no replica has all.

    A replica that is too late to say whether it has room is passed over, so while the machine is busy turns go
    elsewhere: then others are tried. By chance 16 of 24 turns would move; 6 or fewer, in one of five rounds, with a
    probability of 1e-4.
    """
    for turn in range(5):
        conversations = talks(plain, f"subject {turn}")
        if (moves := sum(conversation.moves for conversation in conversations)) <= 6:
            break
    assert moves <= 6
    assert sum(conversation.failovers for conversation in conversations) == 0
    assert len({conversation.replicas[0] for conversation in conversations}) > 1
    answered = sorted(replica for conversation in conversations for replica in conversation.replicas)

    def told() -> bool:
        decisions = plain.get("/admin/v1/decisions?limit=32")["decisions"]
        return sorted(decision["replica"] for decision in decisions) == answered

    until(told)


def test_a_conversation_outlives_its_home(plain: Service) -> None:
    """The turn after the replica's end is answered by another one, which is its home from then on."""
    conversation = Conversation(plain, "rivers")
    conversation.turn()
    home = conversation.replicas[0]
    pids: dict[str, int] = {}

    def seen() -> bool:
        """A poll reaches one replica."""
        for pool in plain.get("/admin/v1/replicas")["pools"]:
            if status := pool["status"]:
                pids[status["replica"]] = status["pid"]
        return home in pids

    until(seen)
    os.kill(pids[home], signal.SIGKILL)
    for _ in range(3):
        conversation.turn()
    print(conversation.replicas)
    assert home not in conversation.replicas[1:]
    assert conversation.moves < 3
