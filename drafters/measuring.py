"""Acceptance of a head on held-out greedy answers, counted as an engine would count it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from drafters.head import Head
from drafters.unrolling import Batch, shifted, unroll


@dataclass(slots=True)
class Counts:
    """Additive counts of drafts, by draft position; `steps` of the target, and the `tokens` they gave."""

    reached: list[int]
    accepted: list[int]
    steps: int = 0
    tokens: int = 0

    @classmethod
    def of(cls, k: int) -> Counts:
        """No evidence yet, for k draft positions."""
        return cls([0] * k, [0] * k)

    def add(self, other: Counts) -> None:
        """Takes in another's counts."""
        for position, (reached, accepted) in enumerate(zip(other.reached, other.accepted, strict=True)):
            self.reached[position] += reached
            self.accepted[position] += accepted
        self.steps += other.steps
        self.tokens += other.tokens

    @property
    def conditional(self) -> list[float | None]:
        """P(draft i accepted | those before it were), None where none was reached."""
        pairs = zip(self.accepted, self.reached, strict=True)
        return [accepted / reached if reached else None for accepted, reached in pairs]

    @property
    def acceptance_length(self) -> float | None:
        """Tokens a step of the target gives, its own included."""
        return self.tokens / self.steps if self.steps else None


@dataclass(slots=True)
class Acceptance:
    """Counts by task."""

    k: int
    tasks: dict[str, Counts] = field(default_factory=dict)

    @property
    def total(self) -> Counts:
        """All tasks together."""
        found = Counts.of(self.k)
        for counts in self.tasks.values():
            found.add(counts)
        return found

    def document(self) -> dict[str, Any]:
        """As JSON: per task and in `all`, conditional acceptance, acceptance length and the counts."""
        rows: Mapping[str, Counts] = {**dict(sorted(self.tasks.items())), "all": self.total}
        return {
            name: {
                "alpha_by_position": counts.conditional,
                "acceptance_length": counts.acceptance_length,
                "steps": counts.steps,
                "reached": counts.reached,
                "accepted": counts.accepted,
            }
            for name, counts in rows.items()
        }


def measure(
    head: Head, embedding: Tensor, scores: Tensor, draft_tokens: Tensor, held_out: Iterable[Batch], *, k: int
) -> Acceptance:
    """Drafts k tokens after k, over held-out answers, from where the last step of the target ended.

    Args:
        head: The head.
        embedding: The target's embeddings [vocabulary, hidden].
        scores: The target's head [vocabulary, hidden].
        draft_tokens: Target ids of the draft vocabulary.
        held_out: Greedy answers: the target's likeliest token is what it says.
        k: Draft tokens a step.
    """
    rows: dict[str, Counts] = defaultdict(lambda: Counts.of(k))
    with torch.inference_mode():
        for batch in held_out:
            says = _what_follows(batch, scores)
            right = []
            for step, (states, real) in enumerate(unroll(head, embedding, batch, steps=k)):
                drafted = draft_tokens[head.logits(states).argmax(-1)]
                right.append((drafted == shifted(says, 1 + step)[:, batch.first :]) & real)
            runs = torch.stack(right, dim=-1).long().cumprod(-1).sum(-1)
            length = batch.exists.long().sum(1) - (batch.positions[:, batch.first] + 1)
            for row, task in enumerate(batch.tasks):
                rows[task].add(_walk(runs[row].tolist(), int(length[row]), k))
    return Acceptance(k, dict(rows))


def _what_follows(batch: Batch, scores: Tensor) -> Tensor:
    """What the target says after every token: the next one, and after the last recorded one the likeliest."""
    follows = shifted(batch.tokens, 1)
    last = batch.exists & ~shifted(batch.exists, 1)
    follows[last] = (batch.final[last] @ scores.T).argmax(-1)
    return follows


def _walk(runs: list[int], answered: int, k: int) -> Counts:
    """One answer's steps: from the token at hand, k drafts; the accepted ones and the target's own move on.

    `runs` are the accepted drafts from each position; the first token comes with the prompt, without a step.
    A draft counts where its token belongs to the answer: an engine's last step is cut to what was asked for.
    """
    found = Counts.of(k)
    at = 0
    while at < answered:
        possible = min(k, answered - at)
        accepted = min(runs[at], possible)
        for position in range(min(accepted + 1, possible)):
            found.reached[position] += 1
            found.accepted[position] += position < accepted
        found.steps += 1
        found.tokens += min(accepted + 1, answered - at)
        at += accepted + 1
    return found
