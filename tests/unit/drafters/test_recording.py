"""Recording goes on where it stopped, and anew where a shard is damaged."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from drafters import recording
from drafters.answering import Request
from drafters.errors import DraftError
from drafters.recording import AskSettings, Recorded, record
from tests.unit.drafters.tiny_target import request, write_target

pytestmark = pytest.mark.unit

SETTINGS = AskSettings(tokens=60, prompt_tokens=8, answer_tokens=6, slots=3)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard every few answers."""
    monkeypatch.setattr(recording, "_SHARD_TOKENS", 15)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model's folder."""
    return write_target(tmp_path_factory.mktemp("model"))


def stream(asked: list[str]) -> Iterator[Request]:
    """Fifty requests; notes which were taken."""
    for number in range(50):
        one = request(number, tokens=(1, 40 + number, 2))
        asked.append(one.ident)
        yield one


def recorded(folder: Path, model: Path, settings: AskSettings, said: list[str]) -> tuple[Recorded, list[str]]:
    """What the folder holds afterwards, and what was taken from the stream."""
    asked: list[str] = []
    found = record(
        folder, model, stream(asked), settings, ends=frozenset(), say=said.append, clock=lambda: 0.0
    )
    return found, asked


def test_as_many_tokens_are_recorded_as_asked_for(tmp_path: Path, model: Path) -> None:
    """In shards, each told of; asked again, nothing is done."""
    said: list[str] = []
    first, _ = recorded(tmp_path, model, SETTINGS, said)
    assert 60 <= first.answered < 80
    assert len(first.shards) > 2
    assert said[-1].startswith(f"recording: {first.answered} of 60 answer tokens")
    again, asked = recorded(tmp_path, model, SETTINGS, [])
    assert (again, asked) == (first, [])


def test_more_tokens_go_on_with_prompts_not_yet_answered(tmp_path: Path, model: Path) -> None:
    """A second run keeps the first's shards and repeats no prompt."""
    first, _ = recorded(tmp_path, model, AskSettings(30, 8, 6, 3), [])
    second, _ = recorded(tmp_path, model, SETTINGS, [])
    assert second.shards[: len(first.shards)] == first.shards
    idents = [entry.request.ident for shard in second.shards for entry in shard.entries]
    assert len(set(idents)) == len(idents)


def test_a_damaged_shard_is_recorded_anew(tmp_path: Path, model: Path) -> None:
    """It is told of, deleted, and its prompts are asked again."""
    first, _ = recorded(tmp_path, model, SETTINGS, [])
    lost = {entry.request.ident for entry in first.shards[0].entries}
    first.shards[0].file.write_bytes(b"rubbish")
    said: list[str] = []
    second, _ = recorded(tmp_path, model, SETTINGS, said)
    assert any("answers-00000.safetensors: damaged" in line and "recorded anew" in line for line in said)
    assert second.answered >= 60
    assert lost <= second.idents


@pytest.mark.parametrize(
    ("number", "advice"), [(errno.ENOSPC, "free some space"), (errno.EROFS, "make that place writable")]
)
def test_a_folder_that_cannot_be_made_is_one_line(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    """And nothing is lost: the same command goes on once there is space."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        with pytest.raises(DraftError, match=f"answers: cannot be made .*: {advice}.* run the command again"):
            recorded(tmp_path / "answers", model, SETTINGS, [])
    found, _ = recorded(tmp_path / "answers", model, SETTINGS, [])
    assert found.answered >= 60


def test_a_damaged_shard_that_cannot_be_deleted_is_one_line(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a folder that may only be read."""
    first, _ = recorded(tmp_path, model, SETTINGS, [])
    first.shards[0].file.write_bytes(b"rubbish")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(DraftError, match=r"00000.safetensors: damaged, and cannot be deleted \(Permission"):
        recorded(tmp_path, model, SETTINGS, [])


def test_a_model_without_weights_is_one_line(tmp_path: Path, model: Path) -> None:
    """Before anything is asked."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_bytes((model / "config.json").read_bytes())
    with pytest.raises(DraftError, match=r"model.safetensors: not readable \(No such file"):
        recorded(tmp_path / "answers", tmp_path / "model", SETTINGS, [])


def test_few_prompts_end_the_recording_early(tmp_path: Path, model: Path) -> None:
    """All answered is all there is; it says so."""
    said: list[str] = []
    found, _ = recorded(tmp_path, model, AskSettings(10_000, 8, 6, 3), said)
    assert len(found.idents) == 50
    assert "all prompts are answered" in said[-1]
