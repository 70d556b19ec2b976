"""The savings report of a decision log: the same sums, of the requests that were logged."""

from __future__ import annotations

import math
from typing import Any, Final

from policies.cost import StepTime
from policies.decide import Reason
from policies.off_policy import DecisionRecord
from policies.off_policy.record import LoggedEstimate, LoggedPool
from policies.savings.capacity import Drafts, EnginePool, capacity
from policies.savings.capacity_entry import capacity_entry
from policies.savings.report import CONFIDENCE, Scope, report
from policies.savings.sums import Cell, Observation, Sums
from policies.savings.traffic import mean_work, traffic

_HOUR_S: Final = 3600.0
_TOO_MANY: Final = 429


def observed(record: DecisionRecord) -> Observation | None:
    """What the report counts of a logged request, as of an outcome; None where that is nothing."""
    if record.result == "refused" and record.status != _TOO_MANY:
        return None
    share = 0.0 if record.failovers else record.holdout_share or 0.0
    held = record.reason is Reason.HOLDOUT
    seen = Observation(
        group=("holdout" if held else "routed") if share else "other",
        share=share,
        speculative=record.k > 0,
        explored=record.reason is Reason.EXPLORATION,
    )
    if record.result != "completed":
        return seen
    tokens = record.completion_tokens
    decode_s = 0.0 if tokens is not None and tokens <= 1 else record.decode_s
    if tokens is None or decode_s is None or record.total_s is None:
        return None
    return seen._replace(
        completed=True,
        tokens=tokens,
        decode_s=decode_s,
        completion_s=record.total_s,
        prompt_tokens=record.prompt_tokens or 0,
        steps=record.steps,
        accepted=record.accepted or 0,
    )


class LoggedTraffic:
    """Adds up the records of a log, the earliest first, and reports what they say."""

    def __init__(self) -> None:
        self.records = 0
        self.without_share = 0
        """Records of an older version, which do not say whether they might have been held out."""
        self._hours: dict[int, dict[Cell, Sums]] = {}
        self._first_s = math.inf
        self._last_s = -math.inf
        self._share = 0.0
        self._sample = 1.0
        self._pools: tuple[LoggedPool, ...] = ()
        self._estimates: dict[str, dict[str, LoggedEstimate]] = {}

    def add(self, record: DecisionRecord) -> None:
        """Count one record."""
        self.records += 1
        if record.holdout_share is None:
            self.without_share += 1
        self._share = record.holdout_share or self._share
        self._sample = min(self._sample, record.sample)
        self._pools = record.context.pools
        self._estimates[record.task] = record.context.estimates
        self._first_s = min(self._first_s, record.decided_at)
        self._last_s = max(self._last_s, record.at)
        seen = observed(record)
        if seen is not None:
            cells = self._hours.setdefault(int(record.decided_at // _HOUR_S), {})
            cell = Cell(record.tenant, record.task, seen.group)
            cells[cell] = cells.get(cell, Sums()) + Sums.of(seen)

    def report(
        self, window_s: float | None = None, *, tenant: str | None = None, task: str | None = None
    ) -> dict[str, Any]:
        """The report of the last hours of the log, or of all of it.

        Raises:
            ValueError: There are no records.
        """
        if not self.records:
            raise ValueError("there are no records")
        asked_s = self._last_s - self._first_s if window_s is None else window_s
        first = int((self._last_s - asked_s) // _HOUR_S)
        cells: dict[Cell, Sums] = {}
        for hour, found in self._hours.items():
            if hour >= first:
                for cell, sums in found.items():
                    cells[cell] = cells.get(cell, Sums()) + sums
        scope = Scope(
            window_s=asked_s,
            since_s=max(self._first_s, first * _HOUR_S),
            until_s=self._last_s,
            began_s=self._first_s,
            share=self._share,
            tenant=tenant,
            task=task,
            source="log",
        )
        return report(cells, scope, capacity=self._capacity(cells), notes=tuple(self._notes()))

    def _notes(self) -> list[str]:
        notes = []
        if self._sample < 1.0:
            notes.append(
                f"The log has a share of {self._sample:.3g} of the requests: seconds and passes are those of "
                "what was logged."
            )
        if self.without_share:
            notes.append(
                f"{self.without_share:,} records are of an older version, which did not log the holdout "
                "share: they are in no comparison."
            )
        return notes

    def _capacity(self, cells: dict[Cell, Sums]) -> dict[str, Any]:
        """By the step times and the acceptance that the last decisions were made with."""
        tasks = traffic(cells)
        work = mean_work(tasks)
        pools = [
            EnginePool(
                profile=pool.profile,
                # Coefficients that a later version adds are not known here; those it lacks are 0.
                step_time=StepTime(*pool.step_time[: len(StepTime._fields)]),
                error=pool.cost_error,
                steps=math.inf,
                slots=max(1, pool.capacity // pool.replicas),
                max_k=pool.max_k,
                drafter_is_model=pool.drafter_is_model,
                least_asked=pool.least_asked,
            )
            for pool in self._pools
        ]
        drafts = {
            pool.profile: [
                Drafts(task, tally.output_tokens, self._estimates[task][pool.profile])
                for task, tally in tasks.items()
                if pool.profile in self._estimates.get(task, {})
            ]
            for pool in pools
        }
        found = capacity(pools, drafts, work, confidence=CONFIDENCE)
        return capacity_entry(found, work, confidence=CONFIDENCE)
