"""What the passes of a pool work on, as far as the requests sent there tell."""

from __future__ import annotations

import math
from collections import Counter
from typing import Final, NamedTuple

from policies.cost import StepLoad
from policies.decide.context import Score, Work

_ALWAYS: Final = math.log(1e-6)
"""The logarithm of a chance too small to matter, for requests that draft in every step."""


class Part(NamedTuple):
    """What one request adds to the passes it takes part in."""

    length: float
    drafted: float
    asked: int
    idle: float
    """Logarithm of the chance that a step of it verifies nothing."""
    context: float


PLAIN: Final = Part(1.0, 0.0, 0, 0.0, 0.0)
"""A request of which nothing is known but that it decodes plainly."""


def part_of(score: Score | None, work: Work) -> Part:
    """What a request of this work adds when it decodes on the arm that was scored."""
    context = work.prompt_tokens + work.output_tokens / 2
    if score is None:
        return Part(1.0, 0.0, 0, 0.0, context)
    idle = max(_ALWAYS, math.log(max(1e-9, 1.0 - score.proposing)))
    return Part(score.length, score.drafted, score.k, idle, context)


class InFlight:
    """The requests in flight on one pool, added up."""

    def __init__(self) -> None:
        self.requests = 0
        self._length = 0.0
        self._drafted = 0.0
        self._idle = 0.0
        self._context = 0.0
        self._asked: Counter[int] = Counter()

    def add(self, part: Part) -> None:
        """A request was sent there."""
        self.requests += 1
        self._sum(part, 1.0)
        self._asked[part.asked] += 1

    def remove(self, part: Part) -> None:
        """The request ended, in whatever way."""
        self.requests -= 1
        self._asked[part.asked] -= 1
        if not self._asked[part.asked]:
            del self._asked[part.asked]
        if self.requests:
            self._sum(part, -1.0)
        else:  # sums of added and subtracted parts keep a rounding error, an empty pool has none
            self._length = self._drafted = self._idle = self._context = 0.0

    def load(self, others: float = 0.0) -> StepLoad:
        """What one pass over all of them works on, in expectation, with `others` more that are like them."""
        if not self.requests:
            return StepLoad(requests=others)
        times = 1.0 + others / self.requests
        return StepLoad(
            requests=self.requests + others,
            verifying=1.0 - math.exp(min(0.0, self._idle * times)),
            drafted=max(0.0, self._drafted * times),
            asked=max(self._asked, default=0),
            context=max(0.0, self._context * times),
        )

    def lengths(self, others: float = 0.0) -> float:
        """Tokens they all make in one pass, in expectation, with `others` more that are like them."""
        if not self.requests:
            return others
        return self._length * (1.0 + others / self.requests)

    def _sum(self, part: Part, sign: float) -> None:
        self._length += sign * part.length
        self._drafted += sign * part.drafted
        self._idle += sign * part.idle
        self._context += sign * part.context
