"""Whether a candidate is worse than the policy beside it, from what was counted of both."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

from policies.canary.evidence import Cell, Count, Loss, Metric
from policies.canary.ratios import Ratio, effect, ratio
from policies.canary.sequence import rare_evidence

Verdict = Literal["gathering", "undecided", "faster", "worse"]
"""Too few requests; neither way sure; surely no slower; surely slower, or failing more."""

_TESTS: Final = 4
"""Decode time, total time, failures, cancellations: each has a part of the error, so all together have it."""
_LOSS_SCALE: Final = 0.02
"""The difference between shares of requests that the test between tenants is made for."""
_METRICS: Final[tuple[Metric, ...]] = get_args(Metric)
_LOSSES: Final[tuple[Loss, ...]] = get_args(Loss)


@dataclass(frozen=True, slots=True)
class TaskRatios:
    """One task: requests of both arms and their ratios of time per token, None while unknown.

    The bounds of a single task are not widened for there being many tasks: among fourteen, one may look
    slower by chance.
    """

    task: str
    candidate_requests: int
    main_requests: int
    decode: Ratio | None
    total: Ratio | None


@dataclass(frozen=True, slots=True)
class Losses:
    """Requests that failed, or were cancelled by clients; `more`: surely more often the candidate's."""

    candidate: int
    main: int
    more: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """A candidate beside the policy in force. `because` names the tests that found it worse."""

    verdict: Verdict
    candidate_requests: int
    main_requests: int
    decode: Ratio | None
    total: Ratio | None
    failed: Losses
    cancelled: Losses
    tasks: tuple[TaskRatios, ...]
    because: tuple[str, ...] = ()


def compare(
    counts: Mapping[Cell, Count], *, confidence: float, min_requests: int, by_tenant: bool = False
) -> Comparison:
    """The comparison of all that was counted so far; it may be asked for after every request.

    The candidate is worse when its time per output token (decoding alone, or all of it) is longer, or when
    failures or clients that give up are more frequent. One that is no worse is ever called worse with
    probability of at most 1 - `confidence`; what times say of it rests on there being enough of them, which
    is what `min_requests` of both arms are for, that the mean of their logarithms is normal.
    """
    error = (1.0 - confidence) / _TESTS
    by_task: dict[str, dict[Cell, Count]] = {}
    for cell, count in counts.items():
        by_task.setdefault(cell.task, {})[cell] = count
    requests = _requests(counts)

    def found(metric: Metric, of: Mapping[Cell, Count]) -> Ratio | None:
        return ratio(effect(of, lambda count: count.moments(metric), by_tenant=by_tenant), error)

    overall = {metric: found(metric, counts) for metric in _METRICS}
    lost = {loss: _losses(counts, loss, error, by_tenant=by_tenant) for loss in _LOSSES}
    because = [
        f"{metric} time" for metric, value in overall.items() if value is not None and value.lower > 1.0
    ]
    because += [f"{loss} requests" for loss, losses in lost.items() if losses.more]
    total = overall["total"]
    verdict: Verdict = "undecided"
    if min(requests) < min_requests:
        verdict, because = "gathering", []
    elif because:
        verdict = "worse"
    elif total is not None and total.upper < 1.0:
        verdict = "faster"
    return Comparison(
        verdict=verdict,
        candidate_requests=requests[0],
        main_requests=requests[1],
        decode=overall["decode"],
        total=total,
        failed=lost["failed"],
        cancelled=lost["cancelled"],
        tasks=tuple(
            TaskRatios(task, *_requests(own), decode=found("decode", own), total=found("total", own))
            for task, own in sorted(by_task.items())
        ),
        because=tuple(because),
    )


def _requests(counts: Mapping[Cell, Count]) -> tuple[int, int]:
    found = {"candidate": 0.0, "main": 0.0}
    for cell, count in counts.items():
        found[cell.arm] += count.requests
    return int(found["candidate"]), int(found["main"])


def _losses(counts: Mapping[Cell, Count], loss: Loss, error: float, *, by_tenant: bool) -> Losses:
    lost = {"candidate": 0.0, "main": 0.0}
    for cell, count in counts.items():
        lost[cell.arm] += count.losses(loss).total
    candidate, main = _requests(counts)
    every = candidate + main
    if by_tenant:
        rate = (lost["candidate"] + lost["main"]) / every if every else 0.0
        more = rate > 0 and _more_between_tenants(counts, loss, error, rate)
    else:
        fraction = candidate / every if every else 0.0
        more = rare_evidence(lost["candidate"], lost["main"], fraction) >= -math.log(error)
    return Losses(int(lost["candidate"]), int(lost["main"]), more)


def _more_between_tenants(counts: Mapping[Cell, Count], loss: Loss, error: float, rate: float) -> bool:
    """One tenant's failures come together, so here the tenants' shares of lost requests are compared."""
    found = effect(
        counts,
        lambda count: count.losses(loss),
        by_tenant=True,
        least_variance=max(rate * (1.0 - rate), 1e-4),
    )
    return found is not None and found.bounds(error, _LOSS_SCALE)[0] > 0.0
