"""`specroute policy canary` and `shadow`: what they print of the service's answers, and their exit codes."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from router.admin_client import Answer
from router.cli_policy import app, asking

pytestmark = pytest.mark.unit

RATIO = {"estimate": 1.5, "lower": 1.25, "upper": 1.75}
COUNTS = {"candidate": 30, "main": 45}
FOUND: dict[str, Any] = {
    "verdict": "worse",
    "because": ["decode time"],
    "requests": COUNTS,
    "total_time": None,
    "decode_time": RATIO,
    "failed": {"candidate": 1, "main": 0},
    "cancelled": {"candidate": 0, "main": 2},
    "tasks": [
        {
            "task": "code",
            "requests": COUNTS,
            "total_time": {"estimate": 1.1, "lower": 0.0},
            "decode_time": RATIO,
        }
    ],
}
TRIAL = {
    "candidate": {"name": "next", "revision": "3f2a"},
    "main": "main@1b2c",
    "share": 0.05,
    "by": "request",
}


def printed(monkeypatch: pytest.MonkeyPatch, command: str, answer: Answer, *options: str) -> tuple[int, str]:
    """Exit code and output where the service gives this answer."""

    class Client:
        def __init__(self, url: str) -> None:
            pass

        def call(self, method: str, path: str) -> Answer:
            assert (method, path) == ("GET", f"/admin/v1/{command}")
            return answer

    monkeypatch.setattr(asking, "AdminClient", Client)
    result = CliRunner().invoke(app, [command, *options])
    return result.exit_code, result.output


def test_a_stopped_canary_is_told_with_its_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the record where this router compared nothing itself; the exit code says that it went wrong."""
    body = {"phase": "stopped", "why": None, "stopped": FOUND, **TRIAL}
    code, output = printed(monkeypatch, "canary", Answer(200, "", body))
    assert code == 1
    assert "next@3f2a beside main@1b2c: stopped, 5 % by request" in output
    assert "verdict: worse (decode time)" in output
    assert "1.50 times (1.25 to 1.75)" in output
    assert "1.10 times (0.00 to ?)" in output
    assert "30 / 45" in output
    assert "failed: 1 / 0" in output


def test_a_running_canary_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also as JSON, which is the service's answer."""
    body = {
        "phase": "running",
        "why": None,
        "stopped": None,
        **TRIAL,
        **FOUND,
        "verdict": "undecided",
        "because": [],
    }
    assert printed(monkeypatch, "canary", Answer(200, "", body))[0] == 0
    code, output = printed(monkeypatch, "canary", Answer(200, "", body), "--json")
    assert (code, json.loads(output)) == (0, body)


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({"phase": "off", "why": None, "stopped": None}, 0, "has no canary"),
        (
            {"phase": "broken", "why": "next.yaml: no such file", "stopped": None},
            1,
            "broken: next.yaml: no such file",
        ),
        ({"phase": "waiting", "why": "the store", "stopped": None, **TRIAL}, 0, "waiting: the store"),
    ],
)
def test_a_canary_that_does_not_run_says_why(
    monkeypatch: pytest.MonkeyPatch, body: dict[str, Any], code: int, words: str
) -> None:
    """One line is enough."""
    found, output = printed(monkeypatch, "canary", Answer(200, "", body))
    assert found == code
    assert words in output


def test_shadow_shows_tasks_and_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares and the predicted saving in percent."""
    sums = {"requests": 20, "speculative_share": 0.5, "measured_share": 1.0, "predicted_saving": 0.125}
    body = {"policy": "p@1", "since": 0.0, **sums, "tasks": [{"task": "code", **sums}]}
    code, output = printed(monkeypatch, "shadow", Answer(200, "", body))
    assert code == 0
    assert output.count("12.5 %") == 2
    assert [line.split()[0] for line in output.splitlines()] == ["task", "code", "all"]
    empty = {"requests": 0, "tasks": []}
    assert "no requests" in printed(monkeypatch, "shadow", Answer(200, "", empty))[1]


def test_a_refusal_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the service says, and exit code 1."""
    refused = Answer(500, "", {"error": {"message": "internal error"}})
    assert printed(monkeypatch, "shadow", refused) == (1, "specroute: internal error\n")
