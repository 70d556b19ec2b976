"""The decision log of a running service: written, read back, replayed; and the arm in use beside alpha."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from services import MODEL, SPECROUTE, Service, policy, until

from policies.off_policy import DecisionRecord

pytestmark = pytest.mark.integration

REQUESTS = 60
SECRET = "the quick brown fox"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("decision-log")


@pytest.fixture(scope="module")
def logging_service(folder: Path) -> Iterator[Service]:
    file = folder / "policy.yaml"
    file.write_text(policy("logged", mode="adaptive", holdout={"share": 0.5}))
    settings = {"decision_log": {"path": str(folder / "log" / "decisions.jsonl")}}
    service = Service(folder / "service", policy={"path": str(file)}, **settings).wait_until_ready()
    yield service
    service.end(signal.SIGTERM)


def test_every_request_leaves_a_record(logging_service: Service, folder: Path) -> None:
    """Whole, of version 1, without a word of the prompt; and replay reads them, whatever they tell."""
    with httpx.Client(base_url=logging_service.url, timeout=60) as client:
        for number in range(REQUESTS):
            content = f"{SECRET} {number}"
            body = {"model": MODEL, "messages": [{"role": "user", "content": content}], "max_tokens": 20}
            headers = {"X-Specroute-Task": "code", "X-Request-Id": f"r{number}"}
            client.post("/v1/chat/completions", json=body, headers=headers).raise_for_status()
    (file,) = (folder / "log").glob("decisions-*.jsonl")
    until(lambda: len(file.read_text().splitlines()) == REQUESTS, 20)
    text = file.read_text()
    assert SECRET not in text
    records = [DecisionRecord.model_validate_json(line) for line in text.splitlines()]
    assert {record.request_id for record in records} == {f"r{number}" for number in range(REQUESTS)}
    assert any(record.reason == "holdout" for record in records)
    assert all(record.decode_s and record.engine_ttft_s for record in records)
    assert logging_service.get("/admin/v1/decisions?limit=1")["log"] == {
        "written": REQUESTS,
        "dropped": 0,
        "failed": 0,
    }

    candidate = folder / "candidate.yaml"
    candidate.write_text(policy("candidate", mode="always_vanilla"))
    command = [SPECROUTE, "policy", "replay", file, "--policy", candidate, "--json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = json.loads(result.stdout)
    assert (result.returncode, found["tells"]) in {(0, True), (1, False)}
    assert found["overall"]["requests"] == REQUESTS
    logged = found["overall"]["speculative_share"]
    assert logged["logged"] + logged["change"]["estimate"] == pytest.approx(0.0)


def test_decisions_are_explained_and_the_arm_in_use_is_told(logging_service: Service) -> None:
    """By filter, in words; and `specroute alpha` has the arm of the task."""
    listed = logging_service.get("/admin/v1/decisions?task=code&reason=holdout&limit=2")["decisions"]
    assert listed
    assert all("at random" in entry["explanation"] for entry in listed)
    command = [SPECROUTE, "alpha", "--url", logging_service.url, "--task", "code", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    arms = [entry["arm"] for entry in json.loads(result.stdout)["entries"] if entry["tenant"] is None]
    assert arms
    assert all(arm["profile"] in {"ngram", "vanilla"} for arm in arms)
