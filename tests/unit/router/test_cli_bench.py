"""`specroute bench`: what it prints and keeps, and how it refuses."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from router.cli import app

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Leave SIGTERM as it was."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["bench", *map(str, words)])


def test_json_is_all_there_is_on_standard_output(tmp_path: Path) -> None:
    """And the same is in the result file."""
    words = ("--decisions", 5, "--tenants", 1, "--rounds", 1, "--repeats", 1, "--out", tmp_path / "out")
    result = run("decision", *words, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == json.loads((tmp_path / "out" / "decision.json").read_text())
    assert f"wrote {tmp_path / 'out' / 'decision.json'}" in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("store", "--requests", "1,x"), "--requests: 1,x: write numbers"),
        (("scaling", "--routers", "0"), "--routers: 0: write numbers"),
        (("overhead", "--sides", "nginx"), "--sides: nginx: name some of direct"),
        (("startup", "--kinds", "lukewarm"), "--kinds: lukewarm: name some of warm"),
        (("startup", "--program", "old"), "--program: old: write NAME=PATH"),
        (("end-to-end", "--topology", "ring"), "--topology: ring: write both, mixed or each"),
        (("end-to-end", "--table", "1:2"), "--table: 1:2: write entries"),
        (("report", "--page", "nowhere.md"), "nowhere.md"),
    ],
)
def test_bad_input_is_told_on_a_line(words: tuple[str, ...], said: str) -> None:
    """Exit code 2, before anything is started."""
    result = run(*words)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--loads", "burst"), "--loads: burst: write closed-N"),
        (("--sides", "fastest"), "--sides: fastest: there is none"),
        (("--tasks", "cdoe"), "--tasks: cdoe: there is none"),
        (("--profile", "ngram"), "--profile: "),
        (("--topology", "each"), "--topology: each: `each` is for two drafters"),
        (("--profile", '{"k": 4}'), "--profile: write its method and k"),
        (("--ks", "9"), "--ks: 9: the profile's k is 8"),
    ],
)
def test_what_the_bench_itself_refuses(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    """One line, too; nothing is kept."""
    result = run("end-to-end", *words, "--outside", 0, "--work", tmp_path / "work", "--out", tmp_path / "out")
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert not (tmp_path / "out").exists()


def test_all_goes_on_where_one_bench_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Which did, it says in the end; documents of the others are there."""
    from bench.results import BenchError

    def fails(*_: Any, **__: Any) -> None:
        raise BenchError("no engines here")

    def works(*_: Any, **__: Any) -> dict[str, Any]:
        recorded = {"date": "2026-01-01", "seconds": 1, "versions": {}, "bench": "startup", "starts": [{}]}
        machine = dict.fromkeys(("processor", "cores", "memory_gib", "python", "load", "load_after"), 1)
        return {**recorded, "machine": machine}

    for name in ("decision", "store", "scaling", "startup"):
        monkeypatch.setattr(f"bench.commands.run_{name}", works)
    monkeypatch.setattr("bench.commands.run_overhead", fails)
    monkeypatch.setattr("bench.endtoend.command.run_end_to_end", lambda *_, **__: (works(), False))
    monkeypatch.setattr("replicas.model_store.prepare", lambda *_, **__: tmp_path)
    result = run("all", "--out", tmp_path)
    assert result.exit_code == 1
    assert "failed or not finished: overhead, end-to-end" in result.stderr
    assert sorted(path.stem for path in tmp_path.iterdir()) == [
        *("decision", "end-to-end", "scaling", "startup", "store")
    ]
