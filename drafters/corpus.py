"""Recorded answers as batches for learning and measuring."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from drafters.errors import DraftError
from drafters.recording import Recorded
from drafters.shards import Entry
from drafters.unrolling import Batch

_MINIMUM_ANSWER = 4


@dataclass(frozen=True, slots=True)
class Place:
    """An answer and the shard it is in."""

    file: Path
    entry: Entry


class Corpus:
    """The answers to learn from, the answers held out, and how often the target says each token."""

    def __init__(self, recorded: Recorded) -> None:
        """Reads every shard once, to know that it is whole.

        Raises:
            DraftError: A shard is damaged, or nothing was recorded to learn from or to measure on.
        """
        self.mass = torch.zeros(0)
        self.learned: list[Place] = []
        self.held_out: list[Place] = []
        for shard in recorded.shards:
            mass = shard.tensors()["mass"]
            self.mass = self.mass + mass if len(self.mass) else mass
            for entry in shard.entries:
                if entry.answered >= _MINIMUM_ANSWER:
                    into = self.held_out if entry.request.held_out else self.learned
                    into.append(Place(shard.file, entry))
        if not self.learned or not self.held_out:
            raise DraftError(
                f"{len(self.learned)} answers to learn from, {len(self.held_out)} held out: both are needed: "
                "record more tokens, or give more prompts"
            )

    @property
    def answered(self) -> int:
        """Answer tokens to learn from."""
        return sum(place.entry.answered for place in self.learned)


def batches(places: Sequence[Place], *, tokens: int, order: random.Random) -> list[list[Place]]:
    """Places in groups of up to `tokens` answer tokens, padding included; alike in length, else mixed."""
    jittered = [(place.entry.answered * order.uniform(0.9, 1.1), index) for index, place in enumerate(places)]
    groups: list[list[Place]] = []
    group: list[Place] = []
    for _, index in sorted(jittered):
        place = places[index]
        longest = max([place.entry.answered, *(other.entry.answered for other in group)])
        if group and longest * (len(group) + 1) > tokens:
            groups.append(group)
            group = []
        group.append(place)
    groups.append(group)
    order.shuffle(groups)
    return groups


def load(places: Iterable[Place]) -> Batch:
    """Reads some answers side by side, shifted so that their prompts end in one column."""
    listed = list(places)
    before = max(place.entry.prompt for place in listed)
    width = before + max(place.entry.answered for place in listed)
    batch: Batch | None = None
    for row, (place, aux, final, tokens) in enumerate(_read(listed)):
        if batch is None:
            batch = _empty(listed, width, aux, first=before - 1)
        start = before - place.entry.prompt
        columns = slice(start, start + place.entry.length)
        batch.aux[row, columns], batch.final[row, columns] = aux.float(), final.float()
        batch.tokens[row, columns], batch.exists[row, columns] = tokens.long(), True
        batch.positions[row, columns] = torch.arange(place.entry.length)
    if batch is None:
        raise ValueError("a batch of no answers")
    return batch


def _empty(places: Sequence[Place], width: int, aux: Tensor, *, first: int) -> Batch:
    sizes = (len(places), width)
    states, hidden = aux.shape[1:]
    return Batch(
        aux=torch.zeros(*sizes, states, hidden),
        final=torch.zeros(*sizes, hidden),
        tokens=torch.zeros(sizes, dtype=torch.long),
        exists=torch.zeros(sizes, dtype=torch.bool),
        first=first,
        positions=torch.zeros(sizes, dtype=torch.long),
        tasks=tuple(place.entry.request.task for place in places),
    )


def _read(places: Sequence[Place]) -> Iterator[tuple[Place, Tensor, Tensor, Tensor]]:
    for place in places:
        rows = slice(place.entry.start, place.entry.start + place.entry.length)
        with safe_open(place.file, framework="pt") as shard:
            aux, final, tokens = (shard.get_slice(name)[rows] for name in ("aux", "final", "tokens"))
        yield place, aux, final, tokens
