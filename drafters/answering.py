"""Many prompts answered at once: a slot that has finished takes the next prompt at once."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from drafters.target import Seen, Target

_LOOP_PERIODS: Final = range(4, 33)
_LOOP_TURNS: Final = 3


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt to be answered.

    Attributes:
        ident: Names the prompt and how it is answered; the same in every run.
        task: What the prompt asks for, or "".
        tokens: The prompt's token ids, chat template included.
        temperature: 0 for the likeliest token every time.
        held_out: The answer is never learned from; acceptance is measured on it.
    """

    ident: str
    task: str
    tokens: tuple[int, ...]
    temperature: float
    held_out: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """A prompt and its answer, with what the target's layers held at every token.

    Attributes:
        request: What was asked.
        tokens: Prompt and answer [n]; the last token drawn is left out, the target never read it.
        aux: Residual streams [n, 3, hidden], half precision.
        final: States [n, hidden] that the head turns into scores, half precision.
    """

    request: Request
    tokens: Tensor
    aux: Tensor
    final: Tensor

    @property
    def answered(self) -> int:
        """Tokens of the answer."""
        return len(self.tokens) - len(self.request.tokens)


@dataclass(slots=True)
class _Slot:
    request: Request
    tokens: list[int]
    aux: list[Tensor] = field(default_factory=list)
    final: list[Tensor] = field(default_factory=list)
    chance: random.Random = field(default_factory=random.Random)

    def saw(self, aux: Tensor, final: Tensor) -> None:
        self.aux.append(aux.half())
        self.final.append(final.half())

    def answer(self) -> Answer:
        aux, final = torch.cat(self.aux), torch.cat(self.final)
        return Answer(self.request, torch.tensor(self.tokens[: len(aux)], dtype=torch.int32), aux, final)


class Answering:
    """Continuous batching over one cache.

    `mass` [vocabulary] adds up the target's probabilities of every token over all answered positions: how
    often it would say each, far less noisy than counts of what it said.
    """

    def __init__(
        self, target: Target, *, slots: int, prompt_tokens: int, answer_tokens: int, ends: frozenset[int]
    ) -> None:
        self._target = target
        self._limit = answer_tokens
        self._ends = ends
        self._cache = target.cache(slots=slots, length=prompt_tokens + answer_tokens)
        self._slots: list[_Slot | None] = [None] * slots
        self.mass = torch.zeros(target.shape.vocabulary, dtype=torch.float64)

    def run(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """The answers, in the order in which they finish. Prompts must not be longer than `prompt_tokens`."""
        waiting = iter(requests)
        while True:
            for index in [index for index, slot in enumerate(self._slots) if slot is None]:
                if (request := next(waiting, None)) is not None:
                    self._slots[index] = self._begin(request, index)
            busy = [(index, slot) for index, slot in enumerate(self._slots) if slot is not None]
            if not busy:
                return
            going = [(index, slot) for index, slot in busy if not self._is_finished(slot)]
            if len(going) == len(busy):
                self._step(going)
            for index, slot in busy:
                if self._is_finished(slot):
                    self._slots[index] = None
                    yield slot.answer()

    def _begin(self, request: Request, index: int) -> _Slot:
        slot = _Slot(request, list(request.tokens), chance=random.Random(request.ident))
        seen = self._target.prompt(torch.tensor(request.tokens), self._cache, index)
        slot.saw(seen.aux, seen.final)
        self._draw([slot], seen.final[-1:])
        return slot

    def _step(self, busy: list[tuple[int, _Slot]]) -> None:
        tokens, positions = torch.zeros((2, len(self._slots)), dtype=torch.long)
        for index, slot in busy:
            tokens[index], positions[index] = slot.tokens[-1], len(slot.tokens) - 1
        seen: Seen = self._target.step(tokens, positions, self._cache)
        for index, slot in busy:
            slot.saw(seen.aux[index : index + 1], seen.final[index : index + 1])
        self._draw([slot for _, slot in busy], seen.final[[index for index, _ in busy]])

    def _draw(self, slots: list[_Slot], final: Tensor) -> None:
        """Appends every slot's next token: one uniform number of its own against its cumulated chances."""
        logits = self._target.logits(final)
        self.mass += logits.softmax(-1).sum(0)
        likeliest = logits.argmax(-1).tolist()
        for row, slot in enumerate(slots):
            token = likeliest[row]
            if slot.request.temperature > 0:
                chances = (logits[row] / slot.request.temperature).softmax(-1).cumsum(-1)
                drawn = slot.chance.random() * float(chances[-1])
                token = min(int(torch.searchsorted(chances, drawn)), len(chances) - 1)
            slot.tokens.append(token)

    def _is_finished(self, slot: _Slot) -> bool:
        answered = len(slot.tokens) - len(slot.request.tokens)
        return answered > self._limit or slot.tokens[-1] in self._ends or _loops(slot)


def _loops(slot: _Slot) -> bool:
    """Whether the answer goes round in circles: more of it would teach nothing."""
    answer = slot.tokens[len(slot.request.tokens) :]
    return any(
        len(answer) >= _LOOP_TURNS * period
        and answer[-period:] * _LOOP_TURNS == answer[-_LOOP_TURNS * period :]
        for period in _LOOP_PERIODS
    )
