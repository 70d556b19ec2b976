"""Counts every outcome for the savings report, and adds the counts to the store in the background.

Requests only add to memory. What an outage leaves there is bounded: by hours, of which the oldest go, and by
cells, beyond which tenants without a place are counted together with others.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from itertools import islice
from typing import Final, NamedTuple
from uuid import uuid4

from policies.decide import Reason
from policies.savings import OTHERS, Cell, Observation, Sums
from router.background import repeated
from router.outcomes import Outcome
from router.savings_store import HOUR_S, MAX_TENANTS, Addend, Counted, SavingsStore
from router.stats_protocol import FlushId, StoreUnavailableError

_log = logging.getLogger(__name__)

_BATCH: Final = 64
"""Cells of a flush."""
_MOST_HOURS: Final = 48
_MOST_CELLS: Final = 10_000
_CLOSE_S: Final = 1.0


def observation(outcome: Outcome) -> Observation | None:
    """What the report counts of a request; None where that is nothing.

    Chance has drawn for a request whose decision has chances; one that moved was decided twice, and which of
    the two groups it was in at first is not known any more. What was wrong by itself was not answered either
    way.
    """
    decision, ending = outcome.decision, outcome.ending
    if outcome.result == "refused" and outcome.status != HTTPStatus.TOO_MANY_REQUESTS:
        return None
    share = 0.0
    if decision.chances and decision.context is not None and not outcome.failovers:
        share = decision.context.policy.holdout_share
    held = decision.reason is Reason.HOLDOUT
    seen = Observation(
        group=("holdout" if held else "routed") if share else "other",
        share=share,
        speculative=decision.k > 0,
        explored=decision.reason is Reason.EXPLORATION,
    )
    if outcome.result != "completed":
        return seen
    if ending is None or ending.continued_after:
        return None
    tokens, total_s = ending.completion_tokens, outcome.total_s
    decode_s = 0.0 if tokens <= 1 else ending.decode_s
    if decode_s is None or total_s is None or not math.isfinite(decode_s + total_s):
        return None
    return seen._replace(
        completed=True,
        tokens=tokens,
        decode_s=decode_s,
        completion_s=total_s,
        prompt_tokens=ending.prompt_tokens,
        steps=len(ending.per_step_accepted) if ending.counted else None,
        accepted=sum(ending.per_step_accepted) if ending.counted else 0,
    )


class Flush(NamedTuple):
    """What the store is to add, once."""

    id: FlushId
    addends: Sequence[Addend]


class _Hour:
    """What was counted of one hour and is not sent, and the tenants with a name of their own in it."""

    def __init__(self) -> None:
        self.cells: dict[Cell, Sums] = {}
        self.tenants: set[str] = set()
        self.began_s = math.inf


class SavingsBuffer:
    """What this router has counted and the store has not; `on_outcome` is its hook.

    Tenants that are `reserved` have a place of their own; of the others as many as an hour has places for.
    """

    def __init__(self, *, reserved: Callable[[str], bool], writer: str | None = None) -> None:
        self.dropped = 0
        """Hours given up during an outage of the store."""
        self._reserved = reserved
        self._hours: dict[int, _Hour] = {}
        self._cells = 0
        self._flush: Flush | None = None
        self._last = FlushId(writer or uuid4().hex, 0)

    def on_outcome(self, outcome: Outcome) -> None:
        """Count one request, in the hour in which it came."""
        seen = observation(outcome)
        if seen is not None:
            arrived_s = outcome.at_s - (outcome.total_s or 0.0)
            self.add(outcome.request.tenant, outcome.task, seen, arrived_s)

    def add(self, tenant: str, task: str, seen: Observation, arrived_s: float) -> None:
        """Count one observation."""
        number = int(arrived_s // HOUR_S)
        hour = self._hours.get(number)
        if hour is None:
            hour = self._begin(number)
        cell = Cell(self._placed(hour, tenant), task, seen.group)
        known = hour.cells.get(cell)
        if known is None:
            self._cells += 1
            hour.cells[cell] = Sums.of(seen)
        else:
            hour.cells[cell] = known + Sums.of(seen)
        hour.began_s = min(hour.began_s, arrived_s)

    @property
    def flushes_due(self) -> int:
        """How many flushes carry everything counted so far."""
        hours = (len(hour.cells) for hour in self._hours.values())
        return (self._flush is not None) + sum(-(-cells // _BATCH) for cells in hours)

    def next_flush(self) -> Flush | None:
        """The flush that got no answer, or else one of what is new, the earliest first; None without any."""
        if self._flush is None:
            for number, hour in self._hours.items():
                if hour.cells:
                    self._start(number, hour)
                    break
        return self._flush

    def finish_flush(self) -> None:
        """The store has it."""
        self._flush = None
        if len(self._hours) > 2:  # noqa: PLR2004 - late outcomes belong to the hour before
            for number in [number for number, hour in self._hours.items() if not hour.cells]:
                if number < max(self._hours) - 1:
                    del self._hours[number]

    def unsent(self) -> Mapping[int, Counted]:
        """By hour, everything that the store is not known to have."""
        found = {number: Counted(dict(hour.cells), hour.began_s) for number, hour in self._hours.items()}
        for addend in self._flush.addends if self._flush else ():
            cells, began_s = found.get(addend.hour, Counted({}))
            whole = cells.get(addend.cell, Sums()) + addend.sums
            found[addend.hour] = Counted({**cells, addend.cell: whole}, min(began_s, addend.began_s))
        return found

    def _begin(self, number: int) -> _Hour:
        if len(self._hours) >= _MOST_HOURS:
            oldest = self._hours.pop(min(self._hours))
            self._cells -= len(oldest.cells)
            self.dropped += bool(oldest.cells)
        hour = self._hours[number] = _Hour()
        return hour

    def _placed(self, hour: _Hour, tenant: str) -> str:
        """The tenant, or `OTHERS`: the same for all its requests of the hour, held out or not."""
        if tenant in hour.tenants or self._reserved(tenant):
            return tenant
        if len(hour.tenants) >= MAX_TENANTS or self._cells >= _MOST_CELLS:
            return OTHERS
        hour.tenants.add(tenant)
        return tenant

    def _start(self, number: int, hour: _Hour) -> None:
        taken = dict(islice(hour.cells.items(), _BATCH))
        for cell in taken:
            del hour.cells[cell]
        self._cells -= len(taken)
        self._last = self._last._replace(number=self._last.number + 1)
        self._flush = Flush(
            self._last,
            [
                Addend(number, cell, sums, hour.began_s, self._reserved(cell.tenant))
                for cell, sums in taken.items()
            ],
        )


class SavingsSync:
    """Moves the counts to the store. Flushes of one writer go one after the other."""

    def __init__(self, buffer: SavingsBuffer) -> None:
        self.buffer = buffer
        self.store: SavingsStore | None = None
        self._talking = asyncio.Lock()

    async def run(self, interval_s: float) -> None:
        """Flush for as long as the task lives."""
        await repeated("savings", self.flush, interval_s)

    async def flush(self) -> bool:
        """Send everything counted up to now; False when the store did not take it."""
        store = self.store
        if store is None:
            return False
        async with self._talking:
            # As many as are due now: under load there is always something new.
            for _ in range(self.buffer.flushes_due):
                flush = self.buffer.next_flush()
                if flush is None:
                    break
                try:
                    await store.add(flush.id, flush.addends)
                except StoreUnavailableError:
                    return False
                self.buffer.finish_flush()
        return True

    async def close(self) -> None:
        """Flush once more, as far as that is quick."""
        try:
            async with asyncio.timeout(_CLOSE_S):
                if not await self.flush() and self.buffer.next_flush() is not None:
                    _log.warning("the store is not reachable: the last counts of the savings report are lost")
        except TimeoutError:
            _log.warning("the store is too slow: the last counts of the savings report may be lost")
