"""How drafts fare: for every token of an answer, what would be proposed there and how much of it accepted.

A request's whole luck is drawn beforehand and belongs to the answer's tokens, not to steps. So every side of
a comparison meets the same answers, and what any k would have done is known for all of them.

A step that has emitted e tokens drafts for the answer's tokens e, e + 1, …; if `a` of them are accepted, the
target's own token is number e + a, whose luck was spent by being rejected (or is not looked at, if the cap
ended the step), so that the next step starts with fresh luck.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from policies.evidence import RequestSteps

Lucks = NDArray[np.float64]


class Drafts(NamedTuple):
    """By tokens emitted before a step: draft tokens on offer there, and how many are good, both at most K."""

    offered: list[int]
    good: list[int]


class Drafting(Hashable, Protocol):
    """A task's acceptance process."""

    def drafts(self, tokens: int, max_k: int, rng: np.random.Generator) -> Drafts:
        """The drafts of one answer of `tokens` tokens, for a request drawn anew."""
        ...


@dataclass(frozen=True, slots=True)
class ModelDrafting:
    """A drafter that is a model: it always proposes, and is right with alpha_i at position i.

    Requests of a task differ: a request's alpha is drawn from the Beta around `alpha` with weight
    `concentration`. Position i accepts with alpha * fade^(i - 1).
    """

    alpha: float
    concentration: float = 12.0
    fade: float = 0.98

    def drafts(self, tokens: int, max_k: int, rng: np.random.Generator) -> Drafts:
        """The drafts of one answer of `tokens` tokens."""
        own = rng.beta(self.alpha * self.concentration, (1 - self.alpha) * self.concentration)
        luck = np.concatenate([rng.random(tokens), np.ones(max_k)])
        good = np.zeros(tokens, dtype=np.int64)
        alive = np.ones(tokens, dtype=np.bool_)
        for i in range(max_k):
            alive &= luck[i : i + tokens] < own * self.fade**i
            good += alive
        return Drafts([max_k] * tokens, good.tolist())


@dataclass(frozen=True, slots=True)
class CopyingDrafting:
    """A drafter that looks up the answer's end in the text before it (n-gram lookup).

    An answer alternates between fresh text and copied spans of geometric length with mean `span`, which hold
    the share `copied` of its tokens; a request's own share is drawn from the Beta around it with weight
    `concentration`. Within a span, from its `warmup`-th token on, the drafter finds the match and is right to
    the span's end. Elsewhere it finds a chance match with probability `chance`, each of whose tokens is right
    with probability `chance_right`.
    """

    copied: float
    span: float
    chance: float
    chance_right: float = 0.25
    warmup: int = 2
    concentration: float = 6.0

    def drafts(self, tokens: int, max_k: int, rng: np.random.Generator) -> Drafts:
        """The drafts of one answer of `tokens` tokens."""
        share = min(0.97, rng.beta(self.copied * self.concentration, (1 - self.copied) * self.concentration))
        left = self._left_in_span(tokens, share, rng)
        begun = rng.random(tokens) < self.chance
        right = rng.geometric(1.0 - self.chance_right, tokens) - 1
        offered, good = [0] * tokens, [0] * tokens
        seen = 0
        for e in range(tokens):
            if seen >= self.warmup:  # a span is under way, or ended just before: nobody has told the drafter
                offered[e], good[e] = max_k, min(left[e], max_k)
            elif begun[e]:
                offered[e], good[e] = max_k, min(int(right[e]), max_k)
            seen = seen + 1 if left[e] else 0
        return Drafts(offered, good)

    def _left_in_span(self, tokens: int, share: float, rng: np.random.Generator) -> list[int]:
        """For every token of the answer, how many tokens of its copied span are left, itself included."""
        fresh = self.span * (1.0 - share) / max(share, 1e-3)
        left: list[int] = []
        copying = bool(rng.random() < share)
        while len(left) < tokens:
            if copying:
                length = int(rng.geometric(1.0 / self.span))
                left.extend(range(length, 0, -1))
            else:
                left.extend([0] * int(rng.geometric(1.0 / max(1.0, fresh))))
            copying = not copying
        return left[:tokens]


def steps_at(drafts: Drafts, tokens: int, k: int) -> RequestSteps:
    """The steps of an answer of `tokens` tokens with cap k throughout, the last one clipped to what is kept.

    The first token comes out of the pass that reads the prompt, so tokens - 1 are left to decode.
    """
    drafted, accepted, emitted = [], [], 1
    while emitted < tokens:
        d = min(drafts.offered[emitted], k)
        a = min(drafts.good[emitted], d)
        if a > tokens - emitted - 1:
            d = a = tokens - emitted - 1
        drafted.append(d)
        accepted.append(a)
        emitted += a + 1
    return RequestSteps(k, drafted, accepted)
