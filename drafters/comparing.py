"""Whether one drafter is better than another on the same answers, and how sure that is.

Both draft over the same recorded answers, so they are compared answer by answer. Answers of one
conversation resemble one another: conversations are drawn anew, not answers or steps (a paired cluster
bootstrap; Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, with percentile intervals).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from drafters.measuring import Counts

FEWEST: Final = 20
"""Conversations: of fewer, intervals by drawing anew come out too narrow."""
_DRAWS: Final = 4000
_AT_ONCE: Final = 200

_Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Paired:
    """What two drafters did on one answer. `family` names the conversation it belongs to."""

    family: str
    old: Counts
    new: Counts


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of both, what the new one has more, and between which bounds that is."""

    old: float | None
    new: float | None
    gain: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two drafters on the same answers.

    Attributes:
        length: Acceptance length: tokens a step of the target gives, its own included.
        alpha_by_position: Conditional acceptance of the first, second … draft token.
        confidence: Of the intervals, two-sided.
        answers: Answers that were compared.
        families: Conversations they belong to.
    """

    length: Difference
    alpha_by_position: tuple[Difference, ...]
    confidence: float
    answers: int
    families: int

    def is_better(self, margin: float) -> bool:
        """Whether the interval's lower end says more than `margin` tokens a step more."""
        return self.length.low is not None and self.length.low > margin

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def compare(pairs: Sequence[Paired], *, confidence: float = 0.95, seed: int = 0) -> Comparison:
    """The new drafter's gain over the old one in acceptance length and in acceptance by position.

    Every figure is a ratio of sums over all answers (tokens to steps, accepted to reached): no average of
    averages. The interval of its difference comes from 4,000 draws of conversations with replacement.

    Args:
        pairs: Both drafters' counts, for the same k, on every answer (at least one).
        confidence: Of the intervals, between 0 and 1.
        seed: Of the draws: the same counts give the same interval.
    """
    names = sorted({pair.family for pair in pairs})
    rows = {name: row for row, name in enumerate(names)}
    k = len(pairs[0].old.reached)
    sums: _Numbers = np.zeros((len(names), 2, 2, 1 + k))
    for pair in pairs:
        for which, counts in enumerate((pair.old, pair.new)):
            sums[rows[pair.family], which, 0] += [counts.tokens, *counts.accepted]
            sums[rows[pair.family], which, 1] += [counts.steps, *counts.reached]
    figures = _ratios(sums.sum(0))
    tail = 50 * (1 - confidence)
    gains = _drawn_gains(sums, np.random.default_rng(seed))
    found = []
    for column in range(1 + k):
        drawn = gains[:, column]
        known = drawn[~np.isnan(drawn)]
        bounds = np.percentile(known, [tail, 100 - tail]) if len(known) else (np.nan, np.nan)
        old, new = figures[:, column]
        found.append(Difference(*(_known(value) for value in (old, new, new - old, *bounds))))
    return Comparison(found[0], tuple(found[1:]), confidence, len(pairs), len(names))


def _drawn_gains(sums: _Numbers, chance: np.random.Generator) -> _Numbers:
    """New less old [draws, figures], each over as many conversations as there are, drawn with replacement."""
    families = len(sums)
    flat = sums.reshape(families, -1)
    parts = []
    for _ in range(_DRAWS // _AT_ONCE):
        weights = chance.multinomial(families, np.full(families, 1 / families), size=_AT_ONCE)
        both = _ratios((weights @ flat).reshape(_AT_ONCE, *sums.shape[1:]))
        parts.append(both[:, 1] - both[:, 0])
    return np.concatenate(parts)


def _ratios(sums: _Numbers) -> _Numbers:
    """Figures [..., drafter, figure] of sums [..., drafter, over and under, figure]; nan for 0 / 0."""
    over, under = sums[..., 0, :], sums[..., 1, :]
    found: _Numbers = np.divide(over, under, out=np.full(over.shape, np.nan), where=under > 0)
    return found


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
