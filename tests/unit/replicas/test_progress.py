"""Start-up stages, written by replicas and read by whoever waits."""

from __future__ import annotations

from pathlib import Path

import pytest

from replicas import progress
from replicas.progress import Progress, Stage, read_progress

pytestmark = pytest.mark.unit


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path))
    monkeypatch.setattr("time.time", lambda: 12.5)
    return tmp_path


def test_the_last_stage_of_every_profile_is_read(folder: Path) -> None:
    """One file a profile, each replaced as a whole; nothing else is left in the folder."""
    one, two, three = (Progress.from_environment(name) for name in ("one", "two", "three"))
    one.stage("loading")
    one.stage("warming up")
    two.ready()
    three.failed("no memory")
    assert read_progress(folder) == {
        "one": Stage("starting", "warming up", 12.5),
        "two": Stage("ready", "ready", 12.5),
        "three": Stage("failed", "no memory", 12.5),
    }
    assert sorted(file.name for file in folder.iterdir()) == ["one.json", "three.json", "two.json"]


def test_without_a_folder_nothing_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a cluster nobody reads files."""
    monkeypatch.delenv(progress.VARIABLE)
    Progress.from_environment("one").ready()
    assert read_progress(folder) == {}


def test_a_reader_that_left_does_not_stop_the_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder is gone."""
    monkeypatch.setenv(progress.VARIABLE, str(folder / "gone"))
    Progress.from_environment("one").stage("loading")
    assert read_progress(folder / "gone") == {}


@pytest.mark.parametrize("content", ["", "{", "3", "[1]", "[1, 2, 3, 4]", "\ud800"])
def test_what_is_no_stage_is_passed_over(folder: Path, content: str) -> None:
    """Others are read all the same."""
    (folder / "bad.json").write_text(content, encoding="utf-8", errors="surrogatepass")
    Progress.from_environment("good").ready()
    assert list(read_progress(folder)) == ["good"]
