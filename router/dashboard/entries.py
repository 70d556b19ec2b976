"""The parts of a dashboard's state: a task's activity and evidence, and a tenant's row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from heapq import nlargest
from typing import Any, Final

from router.dashboard.speedup import Speedup, speedup
from router.dashboard.tally import Tally

_TASKS_OF_A_TENANT: Final = 5


def tenant_entry(
    name: str, tallies: Mapping[str, Tally], rows: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """A row of the list of tenants, with the tasks that have most evidence."""
    known = [row for row in rows if row["alpha"] is not None]
    return {
        "tenant": name,
        **sums_entry(tallies.values()),
        "speedup": speedup_entry(speedup(tallies)),
        "tasks": [
            {key: row[key] for key in ("task", "profile", "alpha", "interval", "steps")}
            for row in nlargest(_TASKS_OF_A_TENANT, known, key=lambda row: float(row["steps"]))
        ],
        "more_tasks": max(0, len(known) - _TASKS_OF_A_TENANT),
    }


def evidence_entry(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the admin API without what the task's entry says already."""
    return {
        name: row[name]
        for name in (
            "profile",
            "alpha",
            "interval",
            "alpha_by_position",
            "coverage",
            "draft_acceptance_rate",
            "acceptance_length",
            "steps",
            "requests",
            "replayed_requests",
            "updated_at",
        )
    }


def activity_entry(task: str, tally: Tally) -> dict[str, Any]:
    """What came of a task's requests: by arm and by reason, and how much faster they were."""
    return {
        **sums_entry([tally]),
        "arms": [
            {"profile": profile, "k": k, "requests": requests}
            for (profile, k), requests in sorted(tally.arms.items())
        ],
        "reasons": dict(tally.reasons.most_common()),
        "speedup": speedup_entry(speedup({task: tally})),
    }


def sums_entry(tallies: Collection[Tally]) -> dict[str, Any]:
    """Requests of all tallies together."""
    results: Counter[str] = Counter()
    for tally in tallies:
        results.update(tally.results)
    return {
        "requests": sum(tally.requests for tally in tallies),
        "speculative": sum(tally.speculative for tally in tallies),
        "tokens": sum(tally.tokens for tally in tallies),
        "results": dict(results),
    }


def speedup_entry(found: Speedup | None) -> dict[str, Any] | None:
    """A speedup as JSON has it."""
    return None if found is None else found._asdict()
