"""The decision log of a running service: written, read back, replayed; and the arm in use beside alpha."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from services import MODEL, SPECROUTE, Service, policy
from waiting import ANSWER_S, until

from policies.off_policy import DecisionRecord

pytestmark = pytest.mark.integration

REQUESTS = 60
SECRET = "the quick brown fox"
MARK = "logged-"


@pytest.fixture(scope="module")
def logging_service(service: Service, policy_file: Path) -> Iterator[Service]:
    """The shared service under a policy that holds half of the requests out."""
    text = policy_file.read_text()

    def in_force(name: str) -> bool:
        return bool(service.get("/admin/v1/policy")["name"] == name)

    policy_file.write_text(policy("logged", mode="adaptive", holdout={"share": 0.5}))
    until(lambda: in_force("logged"))
    yield service
    policy_file.write_text(text)
    until(lambda: in_force("shared"))


def test_every_request_leaves_a_record(logging_service: Service, decision_log: Path, tmp_path: Path) -> None:
    """Whole, of version 1, without a word of the prompt; and replay reads them, whatever they tell."""
    with httpx.Client(base_url=logging_service.url, timeout=ANSWER_S) as client:
        for number in range(REQUESTS):
            content = f"{SECRET} {number}"
            body = {"model": MODEL, "messages": [{"role": "user", "content": content}], "max_tokens": 20}
            headers = {"X-Specroute-Task": "code", "X-Request-Id": f"{MARK}{number}"}
            client.post("/v1/chat/completions", json=body, headers=headers).raise_for_status()
    (file,) = decision_log.glob("decisions-*.jsonl")

    def own() -> list[str]:
        """Other tests' requests stand in the file too."""
        return [line for line in file.read_text().splitlines(keepends=True) if f'"{MARK}' in line]

    until(lambda: len(own()) == REQUESTS)
    assert SECRET not in file.read_text()
    records = [DecisionRecord.model_validate_json(line) for line in own()]
    assert {record.request_id for record in records} == {f"{MARK}{number}" for number in range(REQUESTS)}
    assert any(record.reason == "holdout" for record in records)
    assert all(record.decode_s and record.engine_ttft_s for record in records)
    counts = logging_service.get("/admin/v1/decisions?limit=1")["log"]
    assert counts["written"] >= REQUESTS
    assert (counts["dropped"], counts["failed"]) == (0, 0)

    candidate, log = tmp_path / "candidate.yaml", tmp_path / "own.jsonl"
    candidate.write_text(policy("candidate", mode="always_vanilla"))
    log.write_text("".join(own()))
    command = [SPECROUTE, "policy", "replay", log, "--policy", candidate, "--json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S)
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
    result = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S)
    assert result.returncode == 0, result.stderr
    arms = [entry["arm"] for entry in json.loads(result.stdout)["entries"] if entry["tenant"] is None]
    assert arms
    assert all(arm["profile"] in {"ngram", "vanilla"} for arm in arms)
