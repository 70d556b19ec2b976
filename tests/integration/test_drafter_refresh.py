"""What refreshing a drafter asks of a running service: captured answers, and engines started anew in turn."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from services import Service, running
from waiting import ANSWER_S, until

from router.admin_client import AdminClient
from router.rolling import roll

pytestmark = pytest.mark.integration

SECRET = "4111-1111-1111-1111"
POLICY = """
apiVersion: specroute/v1
kind: RoutingPolicy
metadata: {name: drafting}
spec: {mode: always_speculative}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of a drafter, of which `drafter` is the first."""
    found = tmp_path_factory.mktemp("refresh")
    for name in ("0001-first", "0002-second"):
        (found / "drafter.versions" / name).mkdir(parents=True)
    (found / "drafter").symlink_to("drafter.versions/0001-first")
    return found


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    """A plain engine, and two with the drafter, which always draft; everything is captured."""
    with running(
        folder,
        POLICY,
        profiles=[
            {"name": "vanilla"},
            {
                "name": "eagle3",
                "method": "eagle3",
                "k": 3,
                "draft_model": str(folder / "drafter"),
                "replicas": 2,
            },
        ],
        capture={
            "folder": str(folder / "captured"),
            "tenants": ["*"],
            "sample": 1,
            "redact": [r"\b(\d{4}-){3}\d{4}\b"],
        },
    ) as found:
        yield found


def ask(service: Service, text: str, *, stream: bool) -> httpx.Response:
    """One question, whose answer repeats nothing."""
    body = {
        "model": "smollm2-135m-instruct",
        "messages": [{"role": "user", "content": text}],
        "max_tokens": 8,
        "stream": stream,
    }
    return httpx.post(f"{service.url}/v1/chat/completions", json=body, timeout=ANSWER_S)


def test_answers_are_captured_redacted_and_for_their_owner_only(service: Service, folder: Path) -> None:
    """Streamed or not, with the task, in files of mode 0600; the metric counts them."""
    for stream in (False, True):
        assert ask(service, f"Explain the number {SECRET}.", stream=stream).status_code == 200

    def lines() -> list[str]:
        return [
            line for file in (folder / "captured").glob("*.jsonl") for line in file.read_text().splitlines()
        ]

    until(lambda: len(lines()) == 2, 60)
    rows = [json.loads(line) for line in lines()]
    assert {row["messages"][0]["content"] for row in rows} == {"Explain the number [redacted]."}
    assert all(row["redacted"] and row["answer"] and row["task"] for row in rows)
    assert rows[0]["answer"] == rows[1]["answer"]
    assert {file.stat().st_mode & 0o777 for file in (folder / "captured").glob("*.jsonl")} == {0o600}
    metrics = httpx.get(f"{service.url}/metrics", timeout=ANSWER_S).text
    assert 'specroute_captured_answers_total{result="written"} 2.0' in metrics


def evidence(service: Service) -> tuple[float, int]:
    """Requests that the pool's acceptance rests on now, and those that it ever counted."""
    cells = [one for one in service.get("/admin/v1/alpha")["entries"] if one["profile"] == "eagle3"]
    totals = [one for one in cells if one["tenant"] is None]
    return sum(one["requests"] for one in totals), sum(one["lifetime"]["requests"] for one in totals)


def evidence_of(service: Service) -> str | None:
    """The drafter that the pool's evidence is of."""
    (pool,) = service.get("/admin/v1/engines?profile=eagle3")["pools"]
    found: str | None = pool["evidence_of"]
    return found


def test_engines_change_to_the_new_drafter_in_turn(service: Service, folder: Path) -> None:
    """While requests are answered; each engine says which drafter it has loaded, and old evidence is cut."""
    client = AdminClient(service.url)
    for _ in range(4):
        assert ask(service, "Are you there?", stream=False).status_code == 200
    until(lambda: evidence_of(service) == "0001-first", 60)
    until(lambda: evidence(service)[1] >= 4, 60)
    link = folder / "fresh"
    link.symlink_to("drafter.versions/0002-second")
    link.replace(folder / "drafter")
    said: list[str] = []

    def tell(line: str) -> None:
        said.append(line)
        assert ask(service, "Are you there?", stream=False).status_code == 200

    assert roll(client, "eagle3", "0002-second", say=tell) == 2
    assert len(said) == 2
    pool = client.call("GET", "/admin/v1/engines?profile=eagle3").body["pools"][0]
    assert {Path(engine["drafter"]).name for engine in pool["engines"]} == {"0002-second"}
    assert roll(client, "eagle3", "0002-second", say=tell) == 0
    before = evidence(service)[1]
    until(lambda: evidence_of(service) == "0002-second", 60)
    until(lambda: evidence(service)[0] < 0.6 * evidence(service)[1], 60)
    assert evidence(service)[1] >= before
