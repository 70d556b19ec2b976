"""A calibration of a running service finds its truth, and a fresh service that starts from it agrees."""

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from services import MODEL, SPECROUTE, Service, running
from waiting import ANSWER_S

pytestmark = pytest.mark.integration

TRUE_ALPHA = 0.7
"""Of the fake engines, whatever is asked; which drafts are lucky depends on the request alone."""
TASKS = ("code", "qa")


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six of each task."""
    file = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    rows = [{"task": task, "prompt": f"{task}, number {number}"} for task in TASKS for number in range(6)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def calibrate(
    service: Service, prompts: Path, output: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    command = [
        str(SPECROUTE),
        "calibrate",
        str(prompts),
        "--url",
        service.url,
        "--output",
        str(output),
        "--json",
    ]
    return subprocess.run([*command, *options], capture_output=True, text=True, timeout=900, check=False)


def first_decision(service: Service, task: str) -> dict[str, Any]:
    """What becomes of the first request of a task."""
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "first"}],
        "temperature": 0,
        "max_tokens": 48,
    }
    headers = {"X-Specroute-Details": "1", "X-Specroute-Task": task}
    url = f"{service.url}/v1/chat/completions"
    answer = httpx.post(url, json=body, headers=headers, timeout=ANSWER_S).raise_for_status().json()
    details: dict[str, Any] = answer["specroute"]
    return details


def test_a_calibration_finds_the_truth_and_a_fresh_service_starts_from_it(
    service: Service, prompts: Path, tmp_path: Path
) -> None:
    """Alpha's interval covers it; the recommended policy loads, and routes as the report says.

    From the first request on, and with the acceptance that was measured.
    """
    out = tmp_path / "out"
    done = calibrate(service, prompts, out, "--max-tokens", "48", "--k", "4", "--batch", "1,2")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["failed"] == 0
    for domain in found["domains"]:
        assert domain["alpha"]["low"] <= TRUE_ALPHA <= domain["alpha"]["high"]
        assert {side["elsewhere"] for side in domain["sides"]} == {0}
    validated = subprocess.run([str(SPECROUTE), "policy", "validate", str(out / "policy.yaml")], check=False)
    assert validated.returncode == 0
    expected = {one["task"]: one for one in found["policy"]["expected"] if one["temperature"] == "low"}
    # Chance may send a request elsewhere than the policy would.
    text = json.loads((out / "policy.yaml").read_text())
    text["spec"]["exploration"] = {"share": 0, "max_share": 0}
    with running(tmp_path, json.dumps(text), calibration=str(out / "calibration.json")) as fresh:
        for task in TASKS:
            first = first_decision(fresh, task)
            arm = {"route": first["route"], "profile": first["profile"]}
            assert arm == {name: expected[task][name] for name in arm}
            assert first["alpha"] == pytest.approx(expected[task]["alpha"], abs=0.05)
            assert first["reason"] != "cold_start"
