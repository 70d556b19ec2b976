"""Recorded answers on disk: files of some megabytes, each written at once, each checked when read.

A shard is a safetensors file. A run that is interrupted loses what it had not yet put into one, and the next
run asks only for answers that no shard holds.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from drafters.answering import Answer, Request
from drafters.errors import DraftError

FORMAT: Final = "specroute-answers/1"
_PATTERN = "answers-*.safetensors"
_ORDER = ("tokens", "aux", "final", "mass")


@dataclass(frozen=True, slots=True)
class Entry:
    """One answer of a shard: rows `start` to `start + length`, of which the first `prompt` are the prompt."""

    request: Request
    start: int
    length: int

    @property
    def prompt(self) -> int:
        """Tokens of the prompt."""
        return len(self.request.tokens)

    @property
    def answered(self) -> int:
        """Tokens of the answer."""
        return self.length - self.prompt


@dataclass(frozen=True, slots=True)
class Shard:
    """A readable shard: where it is and what it holds, its tensors not yet read."""

    file: Path
    entries: tuple[Entry, ...]
    digest: str

    def tensors(self) -> dict[str, Tensor]:
        """`tokens` [n], `aux` [n, 3, hidden], `final` [n, hidden] and `mass` [vocabulary].

        Raises:
            DraftError: The file has changed since it was written.
        """
        try:
            with safe_open(self.file, framework="pt") as opened:
                found = {name: opened.get_tensor(name) for name in _ORDER}
        except (OSError, SafetensorError) as error:
            raise _damaged(self.file, error) from error
        if _digest(found) != self.digest:
            raise _damaged(self.file, "its contents do not have the hash it was written with")
        return found


def source_digest(target: Path, settings: Sequence[object]) -> str:
    """Tells recordings of one target and one way of asking from others: over its weights and the settings.

    Raises:
        DraftError: The weights cannot be read.
    """
    found = hashlib.sha256(json.dumps(settings).encode())
    weights = target / "model.safetensors"
    try:
        with weights.open("rb") as file:
            while chunk := file.read(1 << 22):
                found.update(chunk)
    except OSError as error:
        raise DraftError(f"{weights}: not readable ({error.strerror}): prepare the model again") from error
    return found.hexdigest()[:16]


def write_shard(folder: Path, answers: Sequence[Answer], mass: Tensor, *, source: str) -> Path:
    """Writes answers as the folder's next shard, visible only when whole.

    Raises:
        DraftError: The folder cannot be written or the disk is full.
    """
    tensors = {
        "tokens": torch.cat([answer.tokens for answer in answers]),
        "aux": torch.cat([answer.aux for answer in answers]),
        "final": torch.cat([answer.final for answer in answers]),
        "mass": mass.float(),
    }
    entries = [
        {
            "ident": answer.request.ident,
            "task": answer.request.task,
            "temperature": answer.request.temperature,
            "held_out": answer.request.held_out,
            "prompt": len(answer.request.tokens),
            "length": len(answer.tokens),
        }
        for answer in answers
    ]
    header = {"format": FORMAT, "source": source, "digest": _digest(tensors), "entries": json.dumps(entries)}
    number = 1 + max((int(path.stem.split("-")[1]) for path in folder.glob(_PATTERN)), default=-1)
    file = folder / f"answers-{number:05d}.safetensors"
    partial = file.with_suffix(".partial")
    try:
        save_file(tensors, partial, metadata=header)
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(file)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space" in str(error)
        advice = "free some space and run the command again" if full else "make the folder writable"
        raise DraftError(
            f"{file}: cannot be written ({error}): {advice}; earlier answers are kept"
        ) from error
    return file


def read_shards(folder: Path, *, source: str | None = None) -> Iterator[Shard | DraftError]:
    """The folder's shards in their order; a damaged one comes as the error that says so.

    Raises:
        DraftError: A shard was recorded from another target or with other settings than `source` stands for.
    """
    for file in sorted(folder.glob(_PATTERN)):
        try:
            with safe_open(file, framework="pt") as opened:
                header = opened.metadata() or {}
                tokens = opened.get_tensor("tokens").tolist()
            entries = _entries(header, tokens)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            yield _damaged(file, error)
            continue
        if source is not None and header["source"] != source:
            raise DraftError(
                f"{file}: recorded from another model or with other settings: name another folder, "
                "or delete this one"
            )
        yield Shard(file, entries, header["digest"])


def _entries(header: dict[str, str], tokens: list[int]) -> tuple[Entry, ...]:
    if header["format"] != FORMAT:
        raise ValueError(f"format {header['format']}, not {FORMAT}")
    found = []
    start = 0
    for row in json.loads(header["entries"]):
        length = row.pop("length")
        prompt = tuple(tokens[start : start + row.pop("prompt")])
        found.append(Entry(Request(**row, tokens=prompt), start, length))
        start += length
    if start != len(tokens):
        raise ValueError(f"{len(tokens)} tokens, its entries say {start}")
    return tuple(found)


def _digest(tensors: dict[str, Tensor]) -> str:
    found = hashlib.blake2b(digest_size=16)
    for name in _ORDER:
        found.update(tensors[name].contiguous().numpy().tobytes())
    return found.hexdigest()


def _damaged(file: Path, why: object) -> DraftError:
    return DraftError(f"{file}: damaged ({why}): delete it and run the command again, it is recorded anew")
