"""Recorded answers on disk: whole or not there, and never a mixture of two targets."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from drafters import shards
from drafters.errors import DraftError
from drafters.shards import Shard, read_shards, source_digest, write_shard
from tests.unit.drafters.tiny_target import answer, record_answers

pytestmark = pytest.mark.unit


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Requests, rows and tensors, over several shards in their order."""
    first, second = [answer(0), answer(1, answered=4)], [answer(2, held_out=True)]
    record_answers(tmp_path, first)
    found = record_answers(tmp_path, second).shards
    assert [entry.request for shard in found for entry in shard.entries] == [
        one.request for one in (*first, *second)
    ]
    entry = found[0].entries[1]
    assert (entry.start, entry.length, entry.prompt, entry.answered) == (12, 7, 3, 4)
    read = found[0].tensors()
    torch.testing.assert_close(read["aux"][12:], first[1].aux)
    torch.testing.assert_close(read["tokens"][12:], first[1].tokens)


def test_a_truncated_shard_is_told_and_others_are_read(tmp_path: Path) -> None:
    """The error names the file and what to do."""
    record_answers(tmp_path, [answer(0)])
    record_answers(tmp_path, [answer(1)])
    file = tmp_path / "answers-00000.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    first, second = read_shards(tmp_path)
    assert isinstance(first, DraftError)
    assert "answers-00000.safetensors: damaged" in str(first)
    assert "delete it" in str(first)
    assert isinstance(second, Shard)


def test_a_flipped_byte_is_found_when_the_tensors_are_read(tmp_path: Path) -> None:
    """The header has a hash of all tensors."""
    (shard,) = record_answers(tmp_path, [answer(0)]).shards
    content = bytearray(shard.file.read_bytes())
    content[-20] ^= 1
    shard.file.write_bytes(content)
    with pytest.raises(DraftError, match="do not have the hash"):
        shard.tensors()


def test_recordings_of_another_model_are_refused(tmp_path: Path) -> None:
    """Also those of the same model, asked otherwise."""
    record_answers(tmp_path, [answer(0)], source="one")
    with pytest.raises(DraftError, match="another model or with other settings"):
        list(read_shards(tmp_path, source="two"))
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert source_digest(tmp_path, [1]) != source_digest(tmp_path, [2])


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to do, and earlier shards stay."""
    record_answers(tmp_path, [answer(0)])

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shards, "save_file", full)
    with pytest.raises(
        DraftError, match="free some space and run the command again; earlier answers are kept"
    ):
        write_shard(tmp_path, [answer(1)], torch.zeros(260), source="here")
    assert [path.name for path in tmp_path.iterdir()] == ["answers-00000.safetensors"]
