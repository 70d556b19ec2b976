"""What a pool's crowd is made of: the requests it was sent lately, and what every k makes of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final, NamedTuple

from policies.acceptance import Estimate
from policies.cells import decay_factor
from policies.decide.context import Score, Work

HALF_LIFE_S: Final = 30.0
_MOST_CELLS: Final = 64
"""Tenants' tasks in the mix of a pool; of more the rarest are left out."""


class Curve(NamedTuple):
    """What one k makes of the mix, per step but for the first."""

    steps_per_token: float
    drafted: float
    proposing: float


class _Cell(NamedTuple):
    """A tenant's task in the mix: tokens asked for, older ones weighing less, and what is believed now.

    `rank` sorts cells by what is left of their tokens, whenever that is asked: the logarithm of what they
    would have decayed from since time 0, in half-lives.
    """

    name: tuple[str, str]
    tokens: float
    at_s: float
    estimate: Estimate
    rank: float

    def tokens_at(self, now_s: float) -> float:
        return self.tokens * decay_factor(now_s - self.at_s, HALF_LIFE_S)


_rank = attrgetter("rank")


@dataclass(slots=True)
class Mix:
    """The requests that were sent to a pool lately: decayed sums, and what they were of.

    `prompt` and `tokens` are those asked for, `steps`, `drafted` and `proposing` as the decisions expected.
    """

    started_s: float
    at_s: float
    requests: float = 0.0
    tokens: float = 0.0
    prompt: float = 0.0
    steps: float = 0.0
    drafted: float = 0.0
    proposing: float = 0.0
    _cells: dict[tuple[str, str], _Cell] = field(default_factory=dict)

    def age(self, now_s: float) -> None:
        """Let the sums fade to now."""
        factor = decay_factor(now_s - self.at_s, HALF_LIFE_S)
        self.at_s = max(self.at_s, now_s)
        self.requests *= factor
        self.tokens *= factor
        self.prompt *= factor
        self.steps *= factor
        self.drafted *= factor
        self.proposing *= factor

    def add(self, score: Score, work: Work) -> None:
        """Count a request that was sent, the sums being of now."""
        steps = max(0.0, work.output_tokens - 1.0) / score.length
        self.requests += 1.0
        self.tokens += work.output_tokens
        self.prompt += work.prompt_tokens
        self.steps += steps
        self.drafted += steps * score.drafted
        self.proposing += steps * score.proposing

    def believe(self, cell: tuple[str, str], estimate: Estimate, tokens: float, now_s: float) -> None:
        """Note what is believed of the drafts of a tenant's task, which asked for `tokens` more."""
        part = self._cells.get(cell)
        if part is not None:
            tokens += part.tokens_at(now_s)
            now_s = max(part.at_s, now_s)
        elif len(self._cells) >= _MOST_CELLS:
            del self._cells[min(self._cells.values(), key=_rank).name]
        rank = now_s / HALF_LIFE_S + math.log2(tokens) if tokens > 0.0 else -math.inf
        self._cells[cell] = _Cell(cell, tokens, now_s, estimate, rank)

    def per_s(self) -> float:
        """Requests per second; what a sum that just began has not seen yet is known."""
        seen = 1.0 - decay_factor(max(1.0, self.at_s - self.started_s), HALF_LIFE_S)
        return self.requests * math.log(2.0) / HALF_LIFE_S / seen

    def context(self) -> float:
        """Mean tokens of context of a request halfway through its answer."""
        return (self.prompt + self.tokens / 2) / self.requests

    def curves(self, max_k: int, now_s: float) -> tuple[Curve, ...]:
        """What every k makes of the recent tasks, as they are believed to be now; steps weigh alike."""
        found = []
        parts = [(part.tokens_at(now_s), part.estimate) for part in self._cells.values()]
        tokens = sum(weight for weight, _ in parts)
        for k in range(max_k + 1 if tokens > 0 else 0):
            steps = [weight / estimate.lengths[k] for weight, estimate in parts]
            total = sum(steps)
            drafted = sum(s * estimate.drafted[k] for s, (_, estimate) in zip(steps, parts, strict=True))
            proposing = sum(s * estimate.proposing[k] for s, (_, estimate) in zip(steps, parts, strict=True))
            found.append(Curve(total / tokens, drafted / total, min(1.0, proposing / total)))
        return tuple(found)
