"""`specroute simulate`: what it prints, and how it refuses."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from router.cli import app

pytestmark = pytest.mark.unit


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["simulate", *map(str, words)])


SMALL = (
    "--scenario",
    "drift",
    "--seeds",
    1,
    "--requests",
    60,
    "--policies",
    "adaptive,always_vanilla,oracle",
)


def test_json_is_all_there_is_on_standard_output() -> None:
    """Progress goes elsewhere, so that the output can be piped."""
    result = run(*SMALL, "--json")
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert [entry["name"] for entry in answer["scenarios"]] == ["drift"]
    assert answer["claims"]


def test_a_table_names_every_side() -> None:
    """Without --json a person reads it."""
    result = run(*SMALL)
    assert result.exit_code == 0
    for word in ("adaptive", "always_vanilla", "oracle", "within 5 % of the oracle"):
        assert word in result.stdout


def test_plots_are_written(tmp_path: Path) -> None:
    """A picture of each scenario, and one over time where a task is watched."""
    result = run(*SMALL, "--plots", tmp_path / "new")
    assert result.exit_code == 0
    written = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert written == ["drift-completion.png", "drift-over-time.png"]


def test_the_list_names_the_sources() -> None:
    """Every machine says where its figures come from."""
    entries = json.loads(run("--list", "--json").stdout)["scenarios"]
    assert len(entries) >= 7
    assert all(
        "llm-d" in entry["source"] or "0004" in entry["source"] or "eagle3" in entry["source"]
        for entry in entries
    )
    assert "pull request 2074" in run("--list").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--scenario", "drfit"), "did you mean 'drift'"),
        (("--policies", "adaptve", "--scenario", "drift"), "did you mean 'adaptive'"),
        (
            (
                "--policies",
                "always_speculative_k99",
            ),
            "always_speculative_k99",
        ),
        (("--seeds", 0), "--seeds"),
    ],
)
def test_bad_input_is_refused_in_words(words: tuple[object, ...], said: str) -> None:
    """Exit code 2, and the nearest name."""
    result = run(*words)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_folder_that_cannot_be_made_is_bad_input(tmp_path: Path) -> None:
    """Before any work is lost to it, and without a traceback."""
    (tmp_path / "file").write_text("")
    result = run(*SMALL, "--plots", tmp_path / "file" / "sub")
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("specroute: --plots:")
