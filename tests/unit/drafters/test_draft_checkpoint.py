"""Checkpoints: replaced as a whole, refused where they belong to something else."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from drafters import checkpoint
from drafters.errors import DraftError

pytestmark = pytest.mark.unit


def test_what_is_saved_is_read(tmp_path: Path) -> None:
    """Nothing is there before; the last one counts."""
    file = tmp_path / "training.pt"
    assert checkpoint.read(file, digest="d") is None
    for step in (1, 2):
        checkpoint.save(file, {"digest": "d", "step": step, "weights": torch.ones(3)})
    found = checkpoint.read(file, digest="d")
    assert found is not None
    assert found["step"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["training.pt"]


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    """With the ways out."""
    file = tmp_path / "training.pt"
    checkpoint.save(file, {"digest": "one"})
    with pytest.raises(DraftError, match="other settings or answers: give the same ones, delete it"):
        checkpoint.read(file, digest="two")


@pytest.mark.parametrize("content", [b"", b"rubbish", None])
def test_a_damaged_checkpoint_is_told_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    """Empty, foreign or truncated."""
    file = tmp_path / "training.pt"
    if content is None:
        checkpoint.save(file, {"digest": "d", "weights": torch.ones(9999)})
        content = file.read_bytes()[:-500]
    file.write_bytes(content)
    with pytest.raises(DraftError) as told:
        checkpoint.read(file, digest="d")
    assert "training.pt: damaged" in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "problem",
    [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("unexpected pos 64 vs 0\nmore")],
)
def test_a_full_disk_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    """Torch's writer tells of it in its own way."""
    file = tmp_path / "training.pt"
    checkpoint.save(file, {"digest": "d", "step": 1})

    def full(*_: object) -> None:
        raise problem

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(DraftError, match="free some space and run the command again") as told:
        checkpoint.save(file, {"digest": "d", "step": 2})
    assert "\n" not in str(told.value)
    monkeypatch.undo()
    assert (checkpoint.read(file, digest="d") or {})["step"] == 1
