"""Captured answers as recordings: the target reads question and answer in one pass and shows its states.

An answer that the target gave needs not be given again. What it says at every position follows from the text
so far, so one pass over all of it has the states that answering had, some ten times as fast.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from drafters.answering import Answer, Request
from drafters.captured import Captured
from drafters.recording import Recorded, Say, recorded
from drafters.shards import source_digest, write_shard
from drafters.target import Target
from drafters.tokenizing import TargetTokens

_SHARD_TOKENS: Final = 6144
_LEAST_ANSWER: Final = 4
_MEASURED_SHARE: Final = 4
_HELD_OUT_SHARE: Final = 8
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

    What was redacted is learned from only. A conversation goes where its name's hash says, and all its
    answers with it.

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
    families = sorted({asked.family for asked, redacted in found if not redacted})
    few = min(_MOST_MEASURED, len(families) // _MEASURED_SHARE)
    measured = frozenset(families[:few])
    held = frozenset(families[few : few + math.ceil((len(families) - few) / _HELD_OUT_SHARE)])
    return Parts(
        learned=tuple(_held(asked, held) for asked, _ in found if asked.family not in measured),
        measured=tuple(asked for asked, redacted in found if asked.family in measured and not redacted),
    )


def _held(asked: Asked, held: frozenset[str]) -> Asked:
    request = asked.request
    is_held = asked.family in held
    again = Request(request.ident, request.task, request.tokens, request.temperature, held_out=is_held)
    return Asked(again, asked.answer, asked.family)


def read_answers(
    folder: Path, model: Path, target: Target, asked: Sequence[Asked], *, settings: ReadSettings, say: Say
) -> Recorded:
    """Reads the answers that no shard of the folder holds yet, shard by shard.

    Raises:
        DraftError: The folder's shards are of another target or other settings, or the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
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
