"""`specroute serve --check` refuses every drafter that an engine could not load, and takes those that it can."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from replicas.drafting import PACKAGED
from router.cli import app
from router.serving import preflight
from tests.unit.replicas.stored import write_safetensors

pytestmark = pytest.mark.unit

EAGLE = {"name": "draft", "method": "eagle3", "k": 3}
FIELD = "profiles.draft.draft_model: "
METHOD = "profiles.draft.method: "


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """One with two cores, enough memory, and nothing of ours running."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=64 * 2**30))
    monkeypatch.setattr(preflight, "available_cores", lambda: (0, 1))
    monkeypatch.setattr(preflight, "_store", lambda _: [])


def checked(tmp_path: Path, profile: dict[str, Any]) -> tuple[int, list[str]]:
    """The exit code of `serve --check` for the embedded model with this profile, and its lines."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = {"profiles": [{"name": "vanilla"}, profile]}
    application = {
        "name": "specroute",
        "import_path": "router.app:build",
        "route_prefix": "/",
        "args": arguments,
    }
    file = tmp_path / "serve.yaml"
    file.write_text(json.dumps({"applications": [application]}), "utf-8")
    result = CliRunner().invoke(app, ["serve", "--check", "--config", str(file), "--port", str(port)])
    return result.exit_code, result.output.strip().splitlines()


@pytest.fixture
def head(tmp_path: Path) -> Path:
    """A copy of the packaged drafter."""
    return Path(shutil.copytree(PACKAGED, tmp_path / "head"))


def changed(**keys: Any) -> Callable[[Path], None]:
    """Writes other values into its config.json."""

    def change(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | keys), "utf-8")

    return change


def truncated(folder: Path) -> None:
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(9_000_000)


def test_the_packaged_drafter_is_in_order(tmp_path: Path, head: Path) -> None:
    """By its short name and as a copy."""
    for named in ("embedded", str(head)):
        code, lines = checked(tmp_path, EAGLE | {"draft_model": named})
        assert (code, len(lines)) == (0, 1), lines


@pytest.mark.parametrize(
    ("change", "ends"),
    [
        (truncated, "9000000 of 19686864 bytes: download it again"),
        (lambda folder: (folder / "model.safetensors").unlink(), "or name the folder that has them"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b""), "download it again"),
        (lambda folder: (folder / "config.json").write_text("{"), "line 1): download it again"),
        (lambda folder: (folder / "config.json").write_text("{}"), "or name another folder"),
        (changed(hidden_size=4096, target_hidden_size=4096), "it was trained for another model"),
        (changed(vocab_size=32000), "it was trained for another model"),
    ],
)
def test_a_drafter_that_cannot_be_loaded(
    tmp_path: Path, head: Path, change: Callable[[Path], None], ends: str
) -> None:
    """Exit code 2 and one line: the field, what is wrong, what to do."""
    change(head)
    code, lines = checked(tmp_path, EAGLE | {"draft_model": str(head)})
    assert (code, len(lines)) == (2, 1), lines
    assert FIELD in lines[0]
    assert lines[0].endswith(ends)


@pytest.mark.parametrize("method", ["medusa", "draft_model", "eagle"])
def test_another_method_than_the_drafters(tmp_path: Path, head: Path, method: str) -> None:
    """It says which one the drafter is for."""
    code, lines = checked(tmp_path, EAGLE | {"draft_model": str(head), "method": method})
    assert (code, len(lines)) == (2, 1), lines
    assert f"{METHOD}{method}, but its drafter is an EAGLE-3 head by its files" in lines[0]
    assert "set method to eagle3, or name" in lines[0]


def test_a_language_model_is_no_head(tmp_path: Path) -> None:
    """The embedded Llama itself, given as an EAGLE-3 head."""
    model = tmp_path / "model"
    model.mkdir()
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 30}
    (model / "config.json").write_text(json.dumps(config | {"hidden_size": 576, "vocab_size": 49152}))
    write_safetensors(model / "model.safetensors", {"model.norm.weight": (576,)})
    code, lines = checked(tmp_path, EAGLE | {"draft_model": str(model)})
    assert (code, len(lines)) == (2, 1), lines
    assert f"{METHOD}eagle3, but its drafter is a language model by its files (LlamaForCausalLM)" in lines[0]


def test_the_embedded_model_has_no_mtp_layers(tmp_path: Path) -> None:
    """Known without its files."""
    code, lines = checked(tmp_path, {"name": "draft", "method": "mtp", "k": 1})
    assert (code, len(lines)) == (2, 1), lines
    assert f"{METHOD}the target has no MTP layers" in lines[0]
    assert lines[0].endswith("choose another method")
