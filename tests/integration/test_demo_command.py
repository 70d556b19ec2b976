"""`specroute demo` as a person runs it, on fake engines: a service of its own, and one that runs already."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from waiting import until

from router import cli

pytestmark = pytest.mark.integration

SPECROUTE = Path(sys.executable).with_name("specroute")
LIMIT = 12
PATIENCE_S = 1200

FAKE = """
applications:
  - name: specroute
    import_path: router.app:build
    args:
      fake_engines: {step_ms: 2, alpha: 0.8}
      policy: {path: POLICY}
"""
WILLING = {
    "apiVersion": "specroute/v1",
    "kind": "RoutingPolicy",
    "metadata": {"name": "willing"},
    "spec": {"objective": {"min_speedup": 1.0, "confidence": 0.5}},
}
"""Speculates where it is more likely than not to gain: so few requests prove no more on a busy machine."""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A deployment of fake engines."""
    file = tmp_path / "fake.yaml"
    willing = tmp_path / "willing.json"
    willing.write_text(json.dumps(WILLING))
    file.write_text(FAKE.replace("POLICY", str(willing)))
    return file


def demo(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command; its temporary files go to `folder`."""
    return subprocess.run(
        [SPECROUTE, "demo", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, "TMPDIR": str(folder), "SPECROUTE_EXIT_WITH_PARENT": "1"},
    )


def processes_with(text: str) -> list[int]:
    """Processes whose command line or environment at their start holds `text`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            if text.encode() in (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def wait_until_gone(text: str) -> None:
    """Return when no process holds `text` any more."""
    until(lambda: not processes_with(text), every_s=0.2)


def test_the_demo_starts_a_service_learns_and_leaves_nothing(config: Path, tmp_path: Path) -> None:
    """Drafts that are accepted four times in five: the second pass speculates, and all ends.

    What it saved is printed: times on a busy machine are nobody's proof.
    """
    done = demo("--json", "--limit", str(LIMIT), "--config", str(config), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["service"]["own"]
    assert result["baseline"] == "paired"
    assert len(result["requests"]) == 4 * LIMIT  # two passes, each with vanilla beside it
    totals = result["totals"]
    assert totals["failed"] == 0
    print({name: totals[name] for name in ("first_share", "second_share", "first_ratio", "second_ratio")})
    assert totals["second_share"] > 0
    assert totals["second_ratio"] > 0
    assert sum(task["requests"] for task in result["tasks"]) == LIMIT
    drafted = [task for task in result["tasks"] if task["profile"] == "ngram" and task["alpha"] is not None]
    assert drafted
    assert all(1 <= task["acceptance_length"] <= 9 for task in drafted)
    assert result["learned"]
    assert "specroute is ready" in done.stderr
    assert "\x1b" not in done.stderr
    wait_until_gone(str(tmp_path))
    assert not list(tmp_path.glob("specroute-demo-*"))


def test_an_interrupted_demo_ends_its_service(config: Path, tmp_path: Path) -> None:
    """SIGTERM while the service starts: exit code 130 as for Ctrl-C, and nothing is left."""
    running = subprocess.Popen(
        [SPECROUTE, "demo", "--config", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    try:
        assert running.stderr is not None
        for line in running.stderr:
            if "starting Ray" in line:
                break
        running.send_signal(signal.SIGTERM)
        _, rest = running.communicate(timeout=PATIENCE_S)
    finally:
        running.kill()
    assert running.returncode == 130
    assert rest.splitlines()[-1] == "specroute: stopped"
    wait_until_gone(str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--url", "http://127.0.0.1:1"), "no specroute answers"),
        (("--url", "nonsense"), "no specroute answers"),
        (("--config", "/nowhere/at-all.yaml"), "No such file"),
        (("--config", "{folder}/no-policy.yaml"), "policy.path: /nowhere/policy.yaml: No such file"),
        (("--url", "http://127.0.0.1:1", "--config", "x.yaml"), "one of the two"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: tuple[str, ...], says: str, tmp_path: Path) -> None:
    """What to do instead stands in the line."""
    (tmp_path / "no-policy.yaml").write_text(FAKE.replace("POLICY", "/nowhere/policy.yaml"))
    done = CliRunner().invoke(cli.app, ["demo", *(part.format(folder=tmp_path) for part in arguments)])
    assert done.exit_code == 2
    assert done.stdout == ""
    *_, line = done.stderr.splitlines()
    assert says in line
