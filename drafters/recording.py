"""Recording: the target answers prompts until enough tokens are on disk, shard by shard."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from drafters.answering import Answering, Request
from drafters.errors import DraftError
from drafters.shards import Shard, read_shards, source_digest, write_shard
from drafters.target import Target, quick_dtype

Say = Callable[[str], None]
_SHARD_TOKENS: Final = 6144


@dataclass(frozen=True, slots=True)
class AskSettings:
    """How the target is asked.

    Attributes:
        tokens: Answer tokens to record in all.
        prompt_tokens: Longer prompts are left out.
        answer_tokens: Answers are cut there.
        slots: Prompts answered at once.
    """

    tokens: int = 400_000
    prompt_tokens: int = 256
    answer_tokens: int = 192
    slots: int = 96


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a folder holds."""

    shards: tuple[Shard, ...]

    @property
    def answered(self) -> int:
        """Tokens of all answers."""
        return sum(entry.answered for shard in self.shards for entry in shard.entries)

    @property
    def idents(self) -> frozenset[str]:
        """Which prompts are answered."""
        return frozenset(entry.request.ident for shard in self.shards for entry in shard.entries)


def recorded(folder: Path, *, source: str | None, say: Say) -> Recorded:
    """The folder's readable shards. Damaged ones are told of and deleted: their prompts are asked again.

    Raises:
        DraftError: They are of another source, or a damaged one cannot be deleted.
    """
    shards = []
    for shard in read_shards(folder, source=source):
        if isinstance(shard, DraftError):
            _delete(_file_of(shard))
            say(str(shard).split(": delete it")[0] + ": deleted, its answers are recorded anew")
        else:
            shards.append(shard)
    return Recorded(tuple(shards))


def _file_of(error: DraftError) -> Path:
    return Path(str(error).split(": damaged")[0])


def _delete(file: Path) -> None:
    try:
        file.unlink()
    except OSError as error:
        raise DraftError(
            f"{file}: damaged, and cannot be deleted ({error.strerror}): make its folder writable and run "
            "the command again; the other answers are kept"
        ) from error


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Makes the folder of recordings, where it is missing.

    Raises:
        DraftError: The disk is full, or the place cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=mode)
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        advice = "free some space" if full else "make that place writable, or name another folder"
        raise DraftError(
            f"{folder}: cannot be made ({error.strerror}): {advice}, and run the command again; "
            "what was done before is kept"
        ) from error


def record(
    folder: Path,
    model: Path,
    requests: Iterator[Request],
    settings: AskSettings,
    *,
    ends: frozenset[int],
    say: Say,
    clock: Callable[[], float] = time.monotonic,
) -> Recorded:
    """Answers prompts that no shard holds yet, until the folder has `settings.tokens` of answers.

    Raises:
        DraftError: The model is not a Llama, the folder was recorded from another one or cannot be written,
            or the disk is full.
    """
    make_folder(folder)
    source = source_digest(model, [settings.prompt_tokens, settings.answer_tokens])
    held = recorded(folder, source=source, say=say)
    count = held.answered
    if count >= settings.tokens:
        return held
    known = held.idents
    say(f"recording: {count:,} of {settings.tokens:,} answer tokens are there")
    fresh = (request for request in requests if request.ident not in known)
    answering = Answering(
        Target.load(model, dtype=quick_dtype()),
        slots=settings.slots,
        prompt_tokens=settings.prompt_tokens,
        answer_tokens=settings.answer_tokens,
        ends=ends,
    )
    began, before = clock(), count
    answers = answering.run(fresh)
    while count < settings.tokens:
        batch = []
        size = 0
        for answer in answers:
            batch.append(answer)
            size += answer.answered
            if size >= _SHARD_TOKENS or count + size >= settings.tokens:
                break
        if not batch:
            say(f"recording: all prompts are answered, {count:,} answer tokens")
            break
        mass, answering.mass = answering.mass, 0 * answering.mass
        write_shard(folder, batch, mass, source=source)
        count += size
        speed = (count - before) / max(clock() - began, 1e-9)
        left = max(settings.tokens - count, 0) / speed / 60
        say(f"recording: {count:,} of {settings.tokens:,} answer tokens, {speed:.0f}/s, {left:.0f} min left")
    return recorded(folder, source=source, say=say)
