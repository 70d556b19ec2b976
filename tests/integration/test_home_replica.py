"""Conversations over a pool of several replicas, on Ray Serve with fake engines."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from services import MODEL, Service, policy, until

pytestmark = pytest.mark.integration

REPLICAS = 3


class Conversation:
    """A client that sends all turns every time, and notes who answered."""

    def __init__(self, service: Service, subject: str) -> None:
        self._url = f"{service.url}/v1/chat/completions"
        self._messages: list[dict[str, str]] = []
        self._subject = subject
        self.replicas: list[str] = []

    def turn(self) -> None:
        """Ask once more."""
        question = f"Turn {len(self.replicas)}: tell me about {self._subject}."
        self._messages.append({"role": "user", "content": question})
        body: dict[str, Any] = {"model": MODEL, "messages": self._messages, "max_tokens": 40}
        response = httpx.post(self._url, json=body, headers={"X-Specroute-Details": "1"}, timeout=60)
        assert response.status_code == 200, response.text
        answer = response.json()
        self._messages.append(answer["choices"][0]["message"])
        self.replicas.append(answer["specroute"]["replica"])
        assert answer["specroute"]["failovers"] == 0


@pytest.fixture(scope="module")
def pooled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of one pool, so that every answer shows a replica of it."""
    folder = tmp_path_factory.mktemp("pooled")
    file = folder / "policy.yaml"
    file.write_text(policy("pooled", mode="always_vanilla"))
    service = Service(
        folder / "service",
        profiles=[{"name": "vanilla", "replicas": REPLICAS}],
        policy={"path": str(file)},
    )
    try:
        yield service.wait_until_ready()
    finally:
        service.end(signal.SIGINT, group=True)


def test_turns_go_home_and_conversations_spread(pooled: Service) -> None:
    """However many arrive together: each stays with the replica of its first turn, and no replica has all."""
    conversations = [Conversation(pooled, f"subject {number}") for number in range(8)]
    with ThreadPoolExecutor(len(conversations)) as clients:
        for _ in range(4):
            list(clients.map(Conversation.turn, conversations))
    print([conversation.replicas for conversation in conversations])
    assert all(len(set(conversation.replicas)) == 1 for conversation in conversations)
    assert len({conversation.replicas[0] for conversation in conversations}) > 1
    decisions = pooled.get("/admin/v1/decisions?limit=32")["decisions"]
    assert {decision["replica"] for decision in decisions} == {c.replicas[0] for c in conversations}


def test_a_conversation_outlives_its_home(pooled: Service) -> None:
    """The turn after the replica's end is answered by another one, which is its home from then on."""
    conversation = Conversation(pooled, "rivers")
    conversation.turn()
    home = conversation.replicas[0]
    pids: dict[str, int] = {}

    def seen() -> bool:
        """A poll reaches one replica."""
        for pool in pooled.get("/admin/v1/replicas")["pools"]:
            pids[pool["status"]["replica"]] = pool["status"]["pid"]
        return home in pids

    until(seen, 60)
    os.kill(pids[home], signal.SIGKILL)
    for _ in range(3):
        conversation.turn()
    assert home not in conversation.replicas[1:]
    assert len(set(conversation.replicas[1:])) == 1
