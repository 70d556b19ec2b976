"""`specroute serve --check`: whether engines find GPUs, here or on the nodes of a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from router.cli import app
from router.serving import command

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """This machine's GPUs: none."""
    gpus = [0]
    monkeypatch.setattr(command, "gpus_here", lambda: gpus[0])
    return gpus


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two engines of two GPUs each, and nothing else that could be wrong."""
    monkeypatch.setenv("SPECROUTE_DATA_DIR", str(tmp_path / "data"))
    profiles: list[dict[str, Any]] = [
        {"name": "vanilla", "device": "cuda", "gpus": 2},
        {"name": "ngram", "method": "ngram", "k": 4, "device": "cuda", "gpus": 2},
    ]
    args = {"profiles": profiles, "fake_engines": {}}
    file = tmp_path / "serve.yaml"
    file.write_text(json.dumps({"applications": [{"import_path": "router.app:build", "args": args}]}))
    return file


def serve(config: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["serve", "--config", str(config), "--port", "64999", *options])


def test_nodes_with_room_are_in_order(config: Path) -> None:
    """On one node or two."""
    for gpus in ("4", "2,2", "8, 2"):
        result = serve(config, "--check", "--gpus", gpus)
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("gpus", "complaint"),
    [
        ("2", "profiles.ngram: 1 of 1 engines find no free GPUs, and there are 2"),
        (
            "1,1,1,1",
            "profiles.vanilla.gpus: an engine takes 2 GPUs of one node, and the nodes have 1, 1, 1, 1",
        ),
        ("0", "and there are none"),
        ("two", "--gpus two: expected the GPUs of each node, like 8,8,2"),
        ("", "expected the GPUs of each node"),
        ("-1", "expected the GPUs of each node"),
    ],
)
def test_engines_without_a_place_are_refused(config: Path, gpus: str, complaint: str) -> None:
    """As bad input, with the engine's name and the reason."""
    result = serve(config, "--check", "--gpus", gpus)
    assert result.exit_code == 2
    assert complaint in result.output


def test_without_nodes_this_machine_counts(config: Path, here: list[int]) -> None:
    """If it has GPUs; a check on a machine without any is meant for another one."""
    assert serve(config, "--check").exit_code == 0
    here[0] = 4
    assert serve(config, "--check").exit_code == 0
    here[0] = 3
    result = serve(config, "--check")
    assert result.exit_code == 2
    assert "find no free GPUs, and there are 3" in result.output


def test_engines_are_not_started_where_they_would_wait_for_ever(config: Path) -> None:
    """Without --check this machine's GPUs count, none as well; others than its own cannot be named."""
    result = serve(config)
    assert result.exit_code == 2
    assert "profiles.vanilla.gpus: an engine takes 2 GPUs of one node, and there are none" in result.output
    assert "--gpus is for --check" in serve(config, "--gpus", "8").output
