"""Captured answers as recordings: the target reads question and answer in one pass and shows its states.

An answer that the target gave needs not be given again. What it says at every position follows from the text
so far, so one pass over all of it has the states that answering had, some ten times as fast.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from drafters.answering import Answer, Request
from drafters.captured import Captured
from drafters.recording import Recorded, Say, make_folder, recorded
from drafters.shards import source_digest, write_shard
from drafters.target import Target
from drafters.tokenizing import TargetTokens

_SHARD_TOKENS: Final = 6144
_LEAST_ANSWER: Final = 4
_PARTS: Final = 32
_MEASURED_PARTS: Final = 8
_HELD_OUT_PARTS: Final = 3
_MOST_MEASURED: Final = 400
_UNKNOWN_TEMPERATURE: Final = 1.0


@dataclass(frozen=True, slots=True)
class ReadSettings:
    """Which captured answers are taken.

    Attributes:
        tokens: Answer tokens, of the newest answers.
        prompt_tokens: Longer questions are left out.
        answer_tokens: Answers are cut there.
    """

    tokens: int = 100_000
    prompt_tokens: int = 768
    answer_tokens: int = 256


@dataclass(frozen=True, slots=True)
class Asked:
    """One captured answer in the target's tokens."""

    request: Request
    answer: tuple[int, ...]
    family: str


@dataclass(frozen=True, slots=True)
class Parts:
    """Captured answers by what they are for.

    Attributes:
        learned: Learned from; some of them are `held_out` to see when learning should stop.
        measured: Never seen while learning: what decides between two drafters.
    """

    learned: tuple[Asked, ...]
    measured: tuple[Asked, ...]


def chosen(rows: Sequence[Captured], tokens: TargetTokens, settings: ReadSettings) -> Parts:
    """Splits answers by conversation: a quarter to measure on, of the rest an eighth held out while learning.

    A conversation goes where its name, a hash, says, and all its answers with it: whatever else was captured.
    So no refresh of a drafter ever learns from what another one measures on, however their answers overlap.
    What was redacted is not measured on.

    Args:
        rows: The newest first; they are taken until there are enough tokens.
        tokens: The target's.
        settings: How many, and how long.
    """
    found: list[tuple[Asked, bool]] = []
    count = 0
    for row in rows:
        if count >= settings.tokens:
            break
        answer = tuple(tokens.text(row.answer))[: settings.answer_tokens]
        prompt = tuple(tokens.encode(row.messages))
        if len(answer) < _LEAST_ANSWER or len(prompt) > settings.prompt_tokens:
            continue
        temperature = _UNKNOWN_TEMPERATURE if row.temperature is None else float(row.temperature)
        request = Request(row.ident, row.task, prompt, temperature, held_out=False)
        found.append((Asked(request, answer, row.family), row.redacted))
        count += len(answer)
    clean = {asked.family for asked, redacted in found if not redacted and _is_measured(asked.family)}
    measured = frozenset(sorted(clean)[:_MOST_MEASURED])
    learned = {asked.family for asked, _ in found if not _is_measured(asked.family)}
    held = {family for family in learned if _part(family) < _MEASURED_PARTS + _HELD_OUT_PARTS}
    held = held or set(sorted(learned)[:1])  # of few conversations none may be there
    return Parts(
        learned=tuple(_held(asked, held) for asked, _ in found if asked.family in learned),
        measured=tuple(asked for asked, redacted in found if asked.family in measured and not redacted),
    )


def _part(family: str) -> int:
    return int(family, 16) % _PARTS


def _is_measured(family: str) -> bool:
    """Whether a conversation may be measured on, and is never learned from."""
    return _part(family) < _MEASURED_PARTS


def _held(asked: Asked, held: AbstractSet[str]) -> Asked:
    request = asked.request
    is_held = asked.family in held
    again = Request(request.ident, request.task, request.tokens, request.temperature, held_out=is_held)
    return Asked(again, asked.answer, asked.family)


def read_answers(
    folder: Path, model: Path, target: Target, asked: Sequence[Asked], *, settings: ReadSettings, say: Say
) -> Recorded:
    """Reads the answers that no shard of the folder holds yet, shard by shard.

    Raises:
        DraftError: The folder's shards are of another target or other settings, it cannot be written, or the
            disk is full.
    """
    make_folder(folder, mode=0o700)
    source = source_digest(model, ["captured", settings.prompt_tokens, settings.answer_tokens])
    known = recorded(folder, source=source, say=say).idents
    todo = [one for one in asked if one.request.ident not in known]
    done = 0
    for batch, mass in _shards(target, todo):
        write_shard(folder, batch, mass, source=source)
        done += len(batch)
        say(f"reading: {len(known) + done:,} of {len(asked):,} captured answers")
    return recorded(folder, source=source, say=say)


def _shards(target: Target, asked: Sequence[Asked]) -> Iterator[tuple[list[Answer], torch.Tensor]]:
    if not asked:
        return
    longest = max(len(one.request.tokens) + len(one.answer) for one in asked)
    cache = target.cache(slots=1, length=longest)
    batch: list[Answer] = []
    size = 0
    mass = torch.zeros(target.shape.vocabulary, dtype=torch.float64)
    for one in asked:
        tokens = torch.tensor((*one.request.tokens, *one.answer))
        seen = target.prompt(tokens, cache, 0)
        batch.append(Answer(one.request, tokens.int(), seen.aux.half(), seen.final.half()))
        mass += target.logits(seen.final[len(one.request.tokens) - 1 :]).softmax(-1).sum(0)
        size += len(one.answer)
        if size >= _SHARD_TOKENS:
            yield batch, mass
            batch, size, mass = [], 0, 0 * mass
    if batch:
        yield batch, mass
