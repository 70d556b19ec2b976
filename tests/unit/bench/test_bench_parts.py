"""The benches of parts, very small: they run, and their documents have what pages are made of."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from bench import scaling, startup
from bench.commands import run_decision, run_scaling, run_startup
from bench.overhead.sides import free_port
from bench.repeated import repeated, rows
from bench.report.sections import section
from bench.results import BenchError
from bench.serving import Serving, policy
from router.settings import EMBEDDED_STORE, DeploymentSettings

pytestmark = pytest.mark.unit


def quiet(_: str) -> None:
    """Tells nobody."""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A file that runs `pretending_service`."""
    file = tmp_path / "specroute"
    service = Path(__file__).with_name("pretending_service.py")
    file.write_text(f'#!/bin/sh\nexec {sys.executable} {service} "$@"\n')
    file.chmod(0o755)
    return file


def test_sides_take_turns_and_are_compared_repeat_by_repeat() -> None:
    """What falls on a whole repeat is in no ratio."""
    calls: list[str] = []

    def side(name: str, seconds: float) -> Any:
        def measure() -> dict[str, float]:
            calls.append(name)
            return {"s": seconds * (len(calls) + 1) // 2, "none": 0.0}

        return measure

    found = repeated({"a": side("a", 2), "b": side("b", 4)}, 3, quiet)
    assert sorted(calls[:2]) == sorted(calls[2:4]) == ["a", "b"]
    made = {row["side"]: row for row in rows(found, base="a")}
    assert made["b"]["s"].value == sorted(run["s"] for run in found["b"])[1]
    assert "ratio_s" in made["b"]
    assert "ratio_none" not in made["b"]
    assert "ratio_s" not in made["a"]


def test_decisions_and_classification_are_measured() -> None:
    """By mode of the policy, and by length of the request."""
    document = run_decision(decisions=20, tenants=2, rounds=1, repeats=1, say=quiet)
    assert [row["side"] for row in document["decision"]] == ["adaptive", "threshold", "always_vanilla"]
    assert document["classification"][0]["classifications_per_s"].value > 0
    assert "| 100000 characters |" in section(document)


def test_tenants_and_routers_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Routers over HTTP: an engine that pretends stands in for a service here."""
    monkeypatch.setattr(scaling, "_services", engines)
    document = run_scaling(
        tenants=[2, 1], routers=[1], decisions=10, clients=2, requests=4, repeats=1, say=quiet
    )
    assert [row["side"] for row in document["tenants"]] == ["1", "2"]
    assert document["routers"][0]["requests_per_s"].value > 0
    assert "| routers |" in section(document)


def test_services_with_several_routers_can_be_started() -> None:
    """They refuse to without a store that all routers share."""
    settings = DeploymentSettings.model_validate(scaling.arguments(2, "unix:///run/store.sock"))
    assert settings.routers == 2
    assert settings.store.url != EMBEDDED_STORE


@contextmanager
def engines(counts: Sequence[int], folder: Path, say: Any) -> Iterator[dict[int, Any]]:
    """The engine of the overhead bench in the place of each service."""
    del folder, say

    class Engine:
        port = free_port()
        url = f"http://127.0.0.1:{port}"

    words = [sys.executable, "-m", "bench.overhead.engine", "--port", str(Engine.port), "--step-ms", "1"]
    process = Popen(words, cwd=Path(__file__).parents[3])
    Engine.pid = process.pid  # type: ignore[attr-defined]
    try:
        waiting = Serving(Path(), {}, {})
        waiting.port = Engine.port
        while process.poll() is None and not answers(waiting):
            pass
        yield dict.fromkeys(counts, Engine())
    finally:
        process.terminate()
        process.wait()


def answers(serving: Serving) -> bool:
    """Whether somebody listens there."""
    import httpx

    try:
        return httpx.get(serving.url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def test_starts_are_measured_with_every_program(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind with this program and with others, in turn."""
    monkeypatch.setattr(startup.sys, "executable", str(program.with_name("python")))
    document = run_startup(kinds=["warm", "cold"], programs={"before": program}, repeats=1, say=quiet)
    assert [row["side"] for row in document["starts"]] == [
        "warm",
        "warm, before",
        "cold",
        "cold, before",
    ]
    assert "| cold, before |" in section(document)
    with pytest.raises(BenchError, match="--program"):
        run_startup(kinds=["warm"], programs={"gone": Path("gone")}, repeats=1, say=quiet)


def test_a_service_that_does_not_start_says_why(program: Path, tmp_path: Path) -> None:
    """With its last words; and nothing is left of it."""
    serving = Serving(tmp_path / "service", {"broken": True}, policy("bench"), program=program)
    serving.start()
    with pytest.raises(BenchError, match="no such thing as broken"):
        serving.wait_until_ready()
    assert not serving.running


def test_another_installation_finds_no_code_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's workers import what lies in the folder they were started from, before what is installed."""
    program = tmp_path / "specroute"
    program.write_text("#!/bin/sh\npwd\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    serving = Serving(tmp_path / "service", {}, policy("bench"), program=Path("specroute"))
    serving.start()
    with pytest.raises(BenchError, match=f"did not become ready: {tmp_path / 'service'}$"):
        serving.wait_until_ready()
