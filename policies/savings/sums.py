"""What is counted of every request for the savings report: sums that add up over routers and hours.

A request that was held out with probability h stands for (1 - h) / h of those that were not, w in short. Its
seconds y and tokens x enter as w y and w x; their powers, which only say how sure a figure is, as g y and g x
with g = w / sqrt(1 - h) (see `policies.savings.estimate`). So a share that changed meanwhile needs no care.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import add
from typing import Final, Literal, NamedTuple, Self, get_args

Group = Literal["holdout", "routed", "other"]
"""Held out by chance; not held out, but might have been; nobody could have held it out."""
GROUPS: Final[tuple[Group, ...]] = get_args(Group)

OTHERS: Final = ""
"""In the place of a tenant: all those that are not counted by name."""

_DEGREE: Final = 4


class Observation(NamedTuple):
    """One request that had its arm to the end, or was lost on the way.

    Attributes:
        group: Which of the three it belongs to.
        share: The probability with which it was to be held out; 0 in group `other`.
        speculative: Whether it was decoded with drafts.
        explored: Whether it was routed by chance, to learn.
        completed: Whether it was answered; of what was lost, nothing below is known.
        tokens: Output tokens.
        decode_s: From the first token to the last.
        completion_s: From the router's receipt to the end.
        prompt_tokens: Of its prompt.
        steps: Target passes after the first token; None where they are not completely known.
        accepted: Draft tokens accepted in them.
    """

    group: Group
    share: float
    speculative: bool = False
    explored: bool = False
    completed: bool = False
    tokens: int = 0
    decode_s: float = 0.0
    completion_s: float = 0.0
    prompt_tokens: int = 0
    steps: int | None = None
    accepted: int = 0


class Tally(NamedTuple):
    """Plain sums over requests; those after `share_variance` over completed ones only."""

    requests: float = 0.0
    """Completed."""
    lost: float = 0.0
    """Cancelled, failed or turned away."""
    share: float = 0.0
    """Probabilities to be held out: how many were to be expected."""
    share_variance: float = 0.0
    """Their h (1 - h)."""
    speculative: float = 0.0
    explored: float = 0.0
    output_tokens: float = 0.0
    decode_tokens: float = 0.0
    """Output tokens but for each first one, which the prompt's pass makes."""
    prompt_tokens: float = 0.0
    decode_s: float = 0.0
    completion_s: float = 0.0
    steps: float = 0.0
    accepted: float = 0.0
    decode_squares: float = 0.0
    """Of routed requests, squares of `decode_tokens` over h: what the same sum over those that were held out,
    weighted by g, should come to."""
    output_squares: float = 0.0
    """The same of `output_tokens`."""


class Moments(NamedTuple):
    """Weighted sums of one measure over held-out requests: x are tokens, y seconds."""

    weighted_x: float = 0.0
    """Sum of w x."""
    weighted_y: float = 0.0
    """Sum of w y."""
    powers: tuple[float, ...] = ()
    """Sums of (g x)^i (g y)^j in the order of `POWERS`."""

    def power(self, i: int, j: int) -> float:
        """The sum of (g x)^i (g y)^j."""
        return self.powers[_PLACES[i, j]] if self.powers else 0.0


POWERS: Final = tuple((degree - j, j) for degree in range(1, _DEGREE + 1) for j in range(degree + 1))
"""Exponents of x and y."""
_PLACES: Final[Mapping[tuple[int, int], int]] = {power: place for place, power in enumerate(POWERS)}
_TALLIED: Final = len(Tally._fields)
_WEIGHTS: Final = 2
_MEASURED: Final = 2 + len(POWERS)
LENGTHS: Final[Mapping[Group, int]] = {
    "holdout": _TALLIED + _WEIGHTS + 2 * _MEASURED,
    "routed": _TALLIED,
    "other": _TALLIED,
}
"""Numbers in the sums of each group."""


class Sums(NamedTuple):
    """The sums of one group, all in one row: a tally, and of a holdout the moments of both measures."""

    row: tuple[float, ...] = ()

    @classmethod
    def of(cls, seen: Observation) -> Self:
        """The sums of a single request."""
        share = seen.share
        draw = (share, share * (1.0 - share), float(seen.speculative), float(seen.explored))
        if not seen.completed:
            lost = (0.0, 1.0, *draw)
            return cls(lost + (0.0,) * (LENGTHS[seen.group] - len(lost)))
        decoded = max(0, seen.tokens - 1)
        known = seen.steps is not None
        row = (
            1.0,
            0.0,
            *draw,
            float(seen.tokens),
            float(decoded),
            float(seen.prompt_tokens),
            seen.decode_s,
            seen.completion_s,
            float(seen.steps or 0),
            float(seen.accepted) if known else 0.0,
        )
        if seen.group == "other":
            return cls((*row, 0.0, 0.0))
        if seen.group == "routed":
            return cls((*row, decoded * decoded / share, seen.tokens * seen.tokens / share))
        weight = (1.0 - share) / share
        return cls(
            (
                *row,
                0.0,
                0.0,
                weight,
                weight * weight,
                *_moments(float(decoded), seen.decode_s, share),
                *_moments(float(seen.tokens), seen.completion_s, share),
            )
        )

    def __add__(self, other: object) -> Sums:
        if not isinstance(other, Sums):
            return NotImplemented
        if not self.row or not other.row:
            return self if self.row else other
        return Sums(tuple(map(add, self.row, other.row)))

    @property
    def tally(self) -> Tally:
        """The plain sums."""
        return Tally(*self.row[:_TALLIED])

    @property
    def effective(self) -> float:
        """Of a holdout: how many equally weighted requests tell as much (Kish)."""
        weights, squares = self.row[_TALLIED : _TALLIED + _WEIGHTS] or (0.0, 0.0)
        return weights**2 / squares if squares > 0 else 0.0

    @property
    def decode(self) -> Moments:
        """Of a holdout: decode time by tokens after the first."""
        return self._moments_at(_TALLIED + _WEIGHTS)

    @property
    def completion(self) -> Moments:
        """Of a holdout: completion time by output tokens."""
        return self._moments_at(_TALLIED + _WEIGHTS + _MEASURED)

    def _moments_at(self, place: int) -> Moments:
        part = self.row[place : place + _MEASURED]
        return Moments(part[0], part[1], part[2:]) if part else Moments()


class Cell(NamedTuple):
    """Whose requests are counted together; tenant `OTHERS` are all without a name of their own."""

    tenant: str
    task: str
    group: Group


def row_text(sums: Sums) -> str:
    """Sums as the store keeps them: their numbers, a blank between two."""
    return " ".join(f"{value:.17g}" for value in sums.row)


def parse_row(group: Group, text: str) -> Sums | None:
    """The sums that a text stands for; None where it is damaged, or of another layout."""
    try:
        row = tuple(map(float, text.split(" ")))
    except ValueError:
        return None
    if len(row) != LENGTHS[group] or not all(map(math.isfinite, row)):
        return None
    return Sums(row)


def _moments(x: float, y: float, share: float) -> tuple[float, ...]:
    weight = (1.0 - share) / share
    scale = weight / math.sqrt(1.0 - share) if share < 1.0 else 0.0
    xs, ys = _powers(scale * x), _powers(scale * y)
    return (weight * x, weight * y, *[xs[i] * ys[j] for i, j in POWERS])


def _powers(value: float) -> Sequence[float]:
    square = value * value
    return (1.0, value, square, square * value, square * square)
