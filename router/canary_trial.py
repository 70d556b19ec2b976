"""What this router counts of a trial, and what of it the store has."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from uuid import uuid4

from policies.canary import (
    CANCELLED,
    FAILED,
    Arm,
    Cell,
    Comparison,
    Count,
    compare,
    fields_of,
    parse_fields,
    tenant_group,
)
from router.canary import Trial
from router.outcomes import Outcome
from router.stats_protocol import FlushId


class TrialCounts:
    """Counts of one trial: what all routers had in the store when it was last read, and what came since."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self._shared: dict[Cell, Count] = {}
        self._unsent: dict[Cell, Count] = {}
        self._sent: dict[Cell, Count] = {}
        self._flush = FlushId(uuid4().hex, 0)

    def note(self, outcome: Outcome) -> None:
        """Count an outcome, if it is one of this trial: of a request that came after it began."""
        arm = self._arm(outcome)
        count = FAILED if outcome.instead else _count(outcome)
        if arm is None or count is None:
            return
        by_tenant = self.trial.settings.by == "tenant"
        cell = Cell(arm, outcome.task, tenant_group(outcome.request.tenant) if by_tenant else 0)
        self._unsent[cell] = self._unsent.get(cell, Count()) + count

    def next_flush(self) -> tuple[FlushId, dict[str, float]]:
        """What the store should add: the flush that got no answer once more, or else all that is new."""
        if not self._sent and self._unsent:
            self._sent, self._unsent = self._unsent, {}
            self._flush = self._flush._replace(number=self._flush.number + 1)
        return self._flush, fields_of(self._sent)

    def finish_flush(self, sums: Mapping[str, float]) -> None:
        """The store answered: it has the flush, and these sums of all routers."""
        self._sent = {}
        self._shared = parse_fields(sums.items())

    def known(self) -> dict[Cell, Count]:
        """Everything this router knows of: what all had counted, and what it has not sent yet."""
        counts = dict(self._shared)
        for part in (self._sent, self._unsent):
            for cell, count in part.items():
                counts[cell] = counts.get(cell, Count()) + count
        return counts

    def compare(self, counts: Mapping[Cell, Count]) -> Comparison:
        """The comparison of `counts`. With many tenants it takes tens of milliseconds."""
        settings = self.trial.settings
        return compare(
            counts,
            confidence=settings.stop.confidence,
            min_requests=settings.stop.min_requests,
            by_tenant=settings.by == "tenant",
        )

    def _arm(self, outcome: Outcome) -> Arm | None:
        trial = self.trial
        if outcome.at_s - (outcome.total_s or 0.0) < trial.begun_s:
            return None
        if outcome.instead:
            return "candidate"
        if outcome.canary:
            return "candidate" if outcome.policy == trial.candidate.label else None
        return "main" if outcome.policy == trial.main_label else None


def _count(outcome: Outcome) -> Count | None:
    """What an outcome adds. A request that was wrong by itself says nothing of the policy."""
    match outcome.result:
        case "completed" if outcome.ending is not None:
            return Count.completed(
                decode_s=outcome.ending.decode_s,
                total_s=outcome.total_s,
                tokens=outcome.ending.completion_tokens,
            )
        case "failed":
            return FAILED
        case "cancelled":
            return CANCELLED
        case "refused" if outcome.status == HTTPStatus.TOO_MANY_REQUESTS:
            return FAILED
    return None
