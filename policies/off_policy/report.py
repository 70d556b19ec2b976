"""A log replayed through a candidate policy: the effect by task, or why the log cannot tell."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.off_policy.clusters import Clustering, clusters
from policies.off_policy.estimator import Effect, Interval, calibrated, effect, interval
from policies.off_policy.record import DecisionRecord
from policies.off_policy.redecide import Redecided, redecided
from policies.off_policy.trials import MEASURES, Floats, Measure, Whole, trials, usable
from policies.resolve import PolicyTable

LEAST_REQUESTS: Final = 50
"""Fewer completed requests tell nothing."""
LEAST_EFFECTIVE: Final = 25.0
"""Of the requests that show what the candidate does differently, so many must be worth something."""
LITTLE: Final = 0.005
"""A candidate that changes fewer requests than this share changes too little to miss much."""
MOST_UNSEEN: Final = 0.2
"""Of what the candidate changes, at most so much may rest on predictions alone."""
MANY_LEFT_OUT: Final = 0.05
"""More failed, cancelled or failed-over requests than this share may hide a part of the truth."""

MANY_KEPT: Final = 0.1
"""A candidate that keeps its last choice more often depends on where it began."""


class Share(NamedTuple):
    """The share of requests on the speculative route: of the log, and what the candidate adds."""

    logged: float
    change: Interval


class Part(NamedTuple):
    """The effect on some requests of the log. `measures` has none where nothing was measured.

    `doubts` are the reasons, in words, why the log cannot tell the effect on latency; empty where it can.
    """

    requests: int
    speculative: Share
    measures: Mapping[Measure, Effect]
    doubts: tuple[str, ...]


class Replayed(NamedTuple):
    """All there is to say. `left_out` counts records without a time to learn from, by what became of them.

    `routers` made the decisions, from `first_s` to `last_s`, in seconds since 1970.
    """

    routers: int
    first_s: float
    last_s: float
    overall: Part
    tasks: Mapping[str, Part]
    left_out: Mapping[str, int]
    notes: tuple[str, ...]

    @property
    def tells(self) -> bool:
        """Whether the log can tell the candidate's effect overall."""
        return not self.overall.doubts


def replay(
    records: Iterable[DecisionRecord],
    candidate: PolicyTable,
    *,
    by: Clustering = "conversation",
    across_k: bool = False,
    confidence: float = 0.95,
) -> Replayed:
    """The effect of a candidate on the requests of a log, given in the order of their decisions.

    Raises:
        ValueError: There is no record that could be decided anew.
    """
    found = list(redecided(records, candidate))
    if not found:
        raise ValueError("no decision of the log can be made anew")
    numbers = clusters((one.record for one in found), by)
    effects: dict[str | None, dict[Measure, Effect]] = {}
    tasks = sorted({one.record.task for one in found})
    for measure in MEASURES:
        of_measure, indices = trials(found, numbers, measure, across_k=across_k)
        if not len(of_measure):
            continue
        whole = calibrated(of_measure)
        effects.setdefault(None, {})[measure] = effect(whole, confidence)
        names = np.array([found[index].record.task for index in indices])
        for task in set(names.tolist()):
            part = whole._replace(trials=whole.trials.part(names == task))
            effects.setdefault(task, {})[measure] = effect(part, confidence)
    of_task = np.array([one.record.task for one in found])
    shares = _speculative(found)
    clustered = np.array(numbers)
    everything = np.ones(len(found), dtype=bool)
    return Replayed(
        routers=len({one.record.router for one in found}),
        first_s=found[0].record.decided_at,
        last_s=found[-1].record.decided_at,
        overall=_part(shares, clustered, everything, effects.get(None, {}), confidence),
        tasks={
            task: _part(shares, clustered, of_task == task, effects.get(task, {}), confidence)
            for task in tasks
        },
        left_out=Counter(_fate(one.record) for one in found if not usable(one.record)),
        notes=tuple(_notes(found, candidate)),
    )


def _speculative(found: Sequence[Redecided]) -> Floats:
    """(n, 3): the probability of drafts as logged and under the candidate, and the request's weight."""
    return np.array(
        [
            (
                sum(chance for (_, k), chance in one.logged.items() if k > 0),
                sum(chance for (_, k), chance in one.candidate.items() if k > 0),
                1.0 / one.record.sample,
            )
            for one in found
        ]
    )


def _part(
    shares: Floats,
    numbers: Whole,
    chosen: NDArray[np.bool_],
    effects: Mapping[Measure, Effect],
    confidence: float,
) -> Part:
    before, after, weight = shares[chosen].T
    weight = weight / weight.sum()
    added = float(weight @ (after - before))
    influence = weight * (after - before - added)
    return Part(
        requests=int(chosen.sum()),
        speculative=Share(float(weight @ before), interval(added, influence, numbers[chosen], confidence)),
        measures=effects,
        doubts=tuple(_doubts(effects.get("total_s"))),
    )


def _doubts(found: Effect | None) -> Iterator[str]:
    """Why the log cannot tell the effect on latency."""
    if found is None or found.requests < LEAST_REQUESTS:
        number = found.requests if found else 0
        yield f"only {number} requests were completed where they were first sent; {LEAST_REQUESTS} are needed"
        return
    if not math.isfinite(found.change.low):
        yield "all requests are of one cluster"
    if found.changed < LITTLE:
        return
    if found.unseen > MOST_UNSEEN * found.changed:
        yield (
            f"the candidate decides {found.changed:.1%} of the requests otherwise, and {found.unseen:.1%} as "
            "the log never or hardly ever did"
        )
    elif found.effective < LEAST_EFFECTIVE:
        yield (
            f"what the candidate does differently was seen in what is worth {found.effective:.0f} requests; "
            f"{LEAST_EFFECTIVE:.0f} are needed"
        )


def _fate(record: DecisionRecord) -> str:
    return "failed over" if record.failovers else record.result


def _notes(found: Sequence[Redecided], candidate: PolicyTable) -> Iterator[str]:
    """What the estimates take for granted here, beside what they always do."""
    lost = sum(not usable(one.record) for one in found)
    if lost > MANY_LEFT_OUT * len(found):
        yield f"{lost} of {len(found)} requests have no time of their own arm, and count only as shares"
    if other := sum(not one.same_evidence for one in found):
        yield (
            f"acceptance or prior_alpha differ for {other} requests: the evidence was taken as it was under "
            "the logged settings"
        )
    if (kept := sum(one.kept for one in found)) > MANY_KEPT * len(found):
        yield (
            f"for {kept} of {len(found)} requests the candidate keeps its last choice (hysteresis); it began "
            "with the log's, and one that begins anew may settle elsewhere"
        )
    if candidate.policy.spec.custom_tasks:
        yield "custom_tasks were not applied: prompts are not logged"
    if candidate.policy.spec.canary is not None:
        yield "canary was not applied"
