"""Whether the traffic's mix of tasks changed what a profile accepts overall.

A profile's mean acceptance is the sum over tasks of share * rate, and its change has two parts (E. M.
Kitagawa, "Components of a difference between two rates", JASA 50, 1955): the shares moved, or the rates did.
Rates have detectors of their own. This one watches the first part alone: it reads every request as its task's
known rate, so that a task which moves does not move the reading, and starts again whenever one did.

Traffic comes in conversations and batches, runs of one task, so that requests are no independent draws of the
mix. Blocks of requests are compared, by how much blocks differ among themselves.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from policies.drift.cusum import Cusum
from policies.drift.events import TaskShare

MATERIAL: Final = 0.05
"""A change of the overall effective acceptance below this is nobody's concern."""

BLOCK_REQUESTS: Final = 25
REMEMBERED_BLOCKS: Final = 60
_READY_BLOCKS: Final = 12
_ALLOWANCE: Final = 0.5
_THRESHOLD: Final = 10.0
_CLIP: Final = 2.5
_LEAST_DEVIATION: Final = 0.02
"""Where all tasks are alike there is no scale, and whatever is within a hair of them is no shift."""
_GAINED: Final = 0.02
_MOST_GAINED: Final = 5

_Block = Mapping[str, int]


class Shift(NamedTuple):
    """Overall effective acceptance by the mix before and since, at the same rates."""

    before: float
    after: float
    requests: int
    gained: tuple[TaskShare, ...]


class Mix:
    """The mix of one profile's traffic. Every request counts, wherever it was routed: routing is no shift."""

    def __init__(self) -> None:
        self._blocks: deque[_Block] = deque(maxlen=REMEMBERED_BLOCKS)
        self._filling: Counter[str] = Counter()
        self._cusum = Cusum(_ALLOWANCE, _THRESHOLD, _CLIP)

    def observe(self, task: str, rates: Mapping[str, float]) -> Shift | None:
        """Take in one request; `rates` are the effective acceptances of the tasks whose rate is known.

        Tasks without a rate are left out: of a task nobody drafted for nothing is known to change.
        """
        if task not in rates:
            return None
        self._filling[task] += 1
        if self._filling.total() < BLOCK_REQUESTS:
            return None
        block, self._filling = self._filling, Counter()
        gathering = max(self._cusum.up_run, self._cusum.down_run)
        past = list(self._blocks)[: len(self._blocks) - gathering]
        self._blocks.append(block)
        return self._compared(block, past, rates)

    def restart(self) -> None:
        """A task moved: what was gathered against the old rates says nothing any more."""
        self._cusum.restart()

    def _compared(self, block: _Block, past: Sequence[_Block], rates: Mapping[str, float]) -> Shift | None:
        means = [mean for each in past if (mean := _mean(each, rates)) is not None]
        here = _mean(block, rates)
        if here is None or len(means) < _READY_BLOCKS:
            return None
        before = sum(means) / len(means)
        variance = sum((mean - before) ** 2 for mean in means) / (len(means) - 1)
        # The mean of so many blocks is an estimate too.
        deviation = max(_LEAST_DEVIATION, math.sqrt(variance * (1 + 1 / len(means))))
        direction = self._cusum.add((here - before) / deviation)
        if direction is None:
            return None
        recent = list(self._blocks)[-self._cusum.run(direction) :]
        self._cusum.restart()
        after = _mean(_sum(recent), rates)
        if after is None or abs(after - before) < MATERIAL:
            return None
        # The new mix is what later ones are compared with: a shift is told once, and its end is another.
        self._blocks = deque(recent, maxlen=REMEMBERED_BLOCKS)
        return Shift(before, after, len(recent) * BLOCK_REQUESTS, _gained(_sum(past), _sum(recent)))


def _sum(blocks: Sequence[_Block]) -> Counter[str]:
    total: Counter[str] = Counter()
    for block in blocks:
        total.update(block)
    return total


def _mean(block: _Block, rates: Mapping[str, float]) -> float | None:
    known = {task: count for task, count in block.items() if task in rates}
    requests = sum(known.values())
    return sum(count * rates[task] for task, count in known.items()) / requests if requests else None


def _gained(before: Counter[str], after: Counter[str]) -> tuple[TaskShare, ...]:
    old, new = before.total(), after.total()
    shares = [TaskShare(task, before[task] / old, count / new) for task, count in after.items()]
    gains = [share for share in shares if share.after - share.before >= _GAINED]
    return tuple(sorted(gains, key=lambda share: share.before - share.after)[:_MOST_GAINED])
