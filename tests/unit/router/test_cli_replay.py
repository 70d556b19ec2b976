"""`specroute policy replay`: what it prints, and its exit codes."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from fakes import policy_text
from typer.testing import CliRunner, Result

from policies.decide import decide
from router.cli import app

sys.path.append(str(Path(__file__).parents[1] / "policies"))
from simulated_logs import LOGGING, line, situations, table

pytestmark = pytest.mark.unit

ONE_K: dict[str, Any] = {**LOGGING, "k": {"mode": "fixed", "default": 4}}


def replay(*words: object) -> Result:
    return CliRunner().invoke(app, ["policy", "replay", *(str(word) for word in words)])


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A log in two files, neither in order."""
    folder = tmp_path_factory.mktemp("log")
    lines = [
        json.dumps(line(number, task, decide(met), router=f"host-{number % 2}"))
        for number, (task, met) in enumerate(situations(400, table(**ONE_K)))
    ]
    files = [folder / "decisions-a.jsonl", folder / "decisions-b.jsonl"]
    for number, file in enumerate(files):
        file.write_text("\n".join(reversed(lines[number::2])) + "\n")
    return files


def candidate(folder: Path, **spec: Any) -> Path:
    file = folder / "candidate.yaml"
    file.write_text(policy_text("next", **{**ONE_K, **spec}))
    return file


def test_the_effect_by_task(log: list[Path], tmp_path: Path) -> None:
    """Route share and latency with intervals, all tasks and each of them."""
    result = replay(*log, "--policy", candidate(tmp_path, mode="always_speculative"))
    assert result.exit_code == 0, result.output
    assert "400 decisions of 2 router(s), 2023-11-1" in result.stdout
    assert "candidate: next" in result.stdout
    rows = {text.split()[0]: text for text in result.stdout.splitlines() if "speculative" in text}
    assert rows.keys() == {"all", "chat", "code", "creative", "qa"}
    assert "100.0%" in rows["all"]
    assert "time to the last token" in result.stdout


def test_json(log: list[Path], tmp_path: Path) -> None:
    """Every figure there is, finite."""
    result = replay(*log, "--policy", candidate(tmp_path, mode="always_speculative"), "--json")
    found = json.loads(result.stdout)
    assert found["tells"] is True
    assert found["overall"]["requests"] == 400
    assert found["tasks"].keys() == {"chat", "code", "creative", "qa"}
    effect = found["overall"]["measures"]["total_s"]
    assert effect["change"]["low"] < effect["change"]["estimate"] < effect["change"]["high"]
    assert effect["effective"] > 25
    assert "Infinity" not in result.stdout


def test_a_log_that_cannot_tell(log: list[Path], tmp_path: Path) -> None:
    """Exit code 1, why, and what might help; the route share is told all the same."""
    other_k = candidate(tmp_path, mode="always_speculative", k={"mode": "fixed", "default": 2})
    result = replay(*log, "--policy", other_k)
    assert result.exit_code == 1
    assert "the log cannot tell the latency of all" in result.stderr
    assert "--across-k" in result.stderr
    assert "100.0%" in result.stdout
    across = replay(*log, "--policy", other_k, "--across-k")
    assert across.exit_code == 0


def test_lines_that_are_no_records(log: list[Path], tmp_path: Path) -> None:
    """They are passed over and counted; where there is nothing else the log cannot tell."""
    torn = tmp_path / "torn.jsonl"
    torn.write_bytes(log[0].read_bytes() + b'{"v":1,"requ\n{"v":2,"decided_at":1}\n\n\xff\xfe\n')
    result = replay(torn, "--policy", candidate(tmp_path))
    assert "no record of version 1: 3" in result.stdout
    old = tmp_path / "old.jsonl"
    old.write_text('{"decided_at": 1.0, "route": "vanilla"}\n')
    result = replay(old, "--policy", candidate(tmp_path))
    assert result.exit_code == 1
    assert "1 lines are no record of version 1" in result.stderr
    assert "decision_log.path" in result.stderr


def test_bad_input(log: list[Path], tmp_path: Path) -> None:
    """A file that is not there, and a policy that is none: exit code 2, one line or the policy's problems."""
    result = replay(tmp_path / "no.jsonl", "--policy", candidate(tmp_path))
    assert (result.exit_code, "no.jsonl: No such file" in result.stderr) == (2, True)
    broken = tmp_path / "broken.yaml"
    broken.write_text("spec: [")
    assert replay(*log, "--policy", broken).exit_code == 2
    assert replay(*log).exit_code == 2
    assert replay(*log, "--policy", candidate(tmp_path), "--cluster", "galaxy").exit_code == 2
