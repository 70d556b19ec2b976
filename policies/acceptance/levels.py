"""The posterior by position: each level of evidence shrunk toward the one above it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

from policies.acceptance.carryover import carried
from policies.acceptance.design import NO_DESIGN, PRIOR_CORRELATION, Design, design, widening
from policies.acceptance.estimates import Estimate, Prior, curves_of
from policies.evidence import MAX_POSITIONS, Cluster, Position, sound_parts

COMMON_ERROR: Final = 0.6
"""How much of the error of given means all positions share, as a part of its variance: who expected too much
of the first draft token is likely to have expected too much of the next."""


@dataclass(frozen=True, slots=True)
class Level:
    """The (decayed) counters of one level, read once: by position, and what requests say of their worth.

    `asked` is the share of the steps that ran with each k.
    """

    counted: tuple[Position, ...] = ()
    design: Design = NO_DESIGN
    requests: float = 0.0
    drafted: float = 0.0
    accepted: float = 0.0
    asked: tuple[tuple[int, float], ...] = ()

    @property
    def steps(self) -> float:
        """Steps that could show something."""
        return self.counted[0].reached if self.counted else 0.0


EMPTY_LEVEL: Final = Level()


class Means(NamedTuple):
    """Rates by position, and the weight behind each, in independent tries."""

    acceptance: list[float]
    proposals: list[float]
    coverage: list[float]
    reaches: list[float]


def level(counts: Mapping[str, float], factor: float = 1.0, correlation: float = PRIOR_CORRELATION) -> Level:
    """A level of counters as `evidence.counters` makes them, times `factor`; unsound ones make an empty one.

    `correlation` is what to assume of the steps of a request, see `design`.
    """
    parts = sound_parts(counts, factor) if counts else None
    if parts is None:
        return EMPTY_LEVEL
    counted, groups = parts
    return Level(
        counted=tuple(counted),
        design=design(groups, counted, correlation),
        requests=sum(group.requests for group in groups),
        drafted=counts.get("drafted", 0.0) * factor,
        accepted=counts.get("accepted", 0.0) * factor,
        asked=_asked(groups),
    )


def _asked(groups: Sequence[Cluster]) -> tuple[tuple[int, float], ...]:
    steps = sum(group.x for group in groups)
    return tuple((group.k, group.x / steps) for group in groups) if steps > 0 else ()


def estimate(
    prior: Prior,
    levels: Sequence[Mapping[str, float]],
    *,
    prior_strength: float,
    reference_k: int,
    max_k: int = MAX_POSITIONS,
) -> Estimate:
    """The posterior of the last of `levels`, each shrunk toward the one before it, the first toward `prior`.

    `levels` are (decayed) counters as `evidence.counters` makes them, from the most general to the most
    specific, each with all that the next one counts; missing ones are empty mappings, and unsound ones count
    as missing.

    A level's mean is one draw of strength m around the one above, which is known as well as the *other*
    evidence there says: what a tenant counted is part of its task's counters, and is taken out of them first,
    lest it count twice. With M the weight behind the mean above, the strength is therefore
    1 / (1/m + 1/M), which is m where there is much of other evidence. The prior is a guess, of weight M = m.
    Strengths are in steps: a position gets as many tries of them as it would be reached, see `strengths`.
    """
    read: list[Level] = []
    for counts in levels:
        read.append(level(counts, correlation=read[-1].design.correlation if read else PRIOR_CORRELATION))
    given = assumed(prior, read[0] if read else EMPTY_LEVEL, prior_strength, reference_k)
    for one, below in pairwise(read):
        given = descended(learned(given, one, below), prior_strength)
    return concluded(
        given,
        read[-1] if read else EMPTY_LEVEL,
        task=read[0] if read else EMPTY_LEVEL,
        reference_k=reference_k,
        max_k=max_k,
    )


def assumed(prior: Prior, task: Level, prior_strength: float, reference_k: int) -> Means:
    """What the prior gives to the task, by as many positions as the task has or the reference k needs."""
    depth = max(1, reference_k, len(prior.acceptance), len(prior.coverage), len(task.counted))
    acceptance = [prior.acceptance[min(i, len(prior.acceptance) - 1)] for i in range(depth)]
    coverage = [prior.coverage[min(i, len(prior.coverage) - 1)] for i in range(depth)]
    given = [joined(strength, strength) for strength in strengths(acceptance, coverage, prior_strength)]
    return Means(acceptance, given, coverage, list(given))


def strengths(acceptance: Sequence[float], coverage: Sequence[float], steps: float) -> list[float]:
    """Tries that so many steps have at each position: all at the first, R_i at the one after i accepted."""
    found = []
    for a, c in zip(acceptance, coverage, strict=True):
        found.append(steps)
        steps *= a * c
    return found


def learned(given: Means, one: Level, below: Level = EMPTY_LEVEL) -> Means:
    """What was given, after a level's counts, but for those that `below` counts as well."""
    if not one.counted:
        return given
    acceptance, proposals, coverage, reaches = map(list, given)
    weight, depth = 1.0 / one.design.effect, len(acceptance)
    counted = _without(one.counted, below.counted) if below.counted else one.counted
    for i, (reached, proposed, accepted) in enumerate(counted[:depth]):
        before = proposals[i]
        if (total := before + weight * proposed) > 0:
            mean = (before * acceptance[i] + weight * accepted) / total
            acceptance[i] = mean if mean < 1.0 else 1.0
            proposals[i] = total
        before = reaches[i]
        if (total := before + weight * reached) > 0:
            mean = (before * coverage[i] + weight * proposed) / total
            coverage[i] = mean if mean < 1.0 else 1.0
            reaches[i] = total
    return Means(acceptance, proposals, coverage, reaches)


def _without(whole: Sequence[Position], part: Sequence[Position]) -> list[tuple[float, float, float]]:
    """The counts of the whole but for those of a part of it, which may have arrived before the whole did."""
    found: list[tuple[float, float, float]] = []
    for (reached, proposed, accepted), (of_reached, of_proposed, of_accepted) in zip(
        whole, part, strict=False
    ):
        reached -= of_reached
        proposed -= of_proposed
        accepted -= of_accepted
        # Against rounding, too.
        if reached < 0.0:
            reached = 0.0
        if not 0.0 <= proposed <= reached:
            proposed = 0.0 if proposed < 0.0 else reached
        if not 0.0 <= accepted <= proposed:
            accepted = 0.0 if accepted < 0.0 else proposed
        found.append((reached, proposed, accepted))
    return found + list(whole[len(part) :])


def descended(above: Means, prior_strength: float) -> Means:
    """What one level gives to the next."""
    acceptance, proposals, coverage, reaches = above
    own = strengths(acceptance, coverage, prior_strength)
    return Means(acceptance, list(map(joined, own, proposals)), coverage, list(map(joined, own, reaches)))


def joined(first: float, second: float) -> float:
    """The weight of a mean that is off by two independent amounts, given the weight of each."""
    total = first + second
    return first * second / total if total > 0 else 0.0


def concluded(given: Means, own: Level, *, task: Level, reference_k: int, max_k: int) -> Estimate:
    """The estimate of the last level, `own`, around what the levels above gave it.

    With given weight m and n tries of its own, the variance mu (1 - mu) / (m + n + 1) of a rate has two
    parts: the error of what was given, times (m / (m + n))^2, and that of the counts, times (n / (m + n))^2,
    which is the shares m / (m + n) and n / (m + n). Few requests widen the latter (`design.widening`).
    """
    found = learned(given, own)
    wider = widening(own.design.freedom) ** 2
    spread, shared = [], []
    weights = (*found, given.proposals, given.reaches)
    for a, a_weight, c, c_weight, a_given, c_given in zip(*weights, strict=True):
        a_variance, c_variance = a * (1.0 - a) / (a_weight + 1.0), c * (1.0 - c) / (c_weight + 1.0)
        of_a, of_c = a_variance * c * c, c_variance * a * a
        from_above = (of_a * a_given / a_weight if a_weight > 0 else of_a) + (
            of_c * c_given / c_weight if c_weight > 0 else of_c
        )
        counted = of_a + of_c - from_above
        if counted < 0.0:
            counted = 0.0
        spread.append(math.sqrt(from_above + wider * (counted + a_variance * c_variance)))
        shared.append(math.sqrt(COMMON_ERROR * from_above))
    curves = curves_of(found.acceptance, found.coverage, spread, max(max_k, reference_k), shared=shared)
    curves = carried(
        curves,
        asked=task.asked,
        correlation=task.design.correlation,
        requests=task.requests,
        steps=task.steps,
    )
    shown = own if own.drafted > 0 else task
    return Estimate(
        acceptance=tuple(found.acceptance),
        coverage=tuple(found.coverage),
        spread=tuple(spread),
        shared=tuple(shared),
        reference_k=reference_k,
        evidence_steps=task.steps,
        own_steps=own.steps,
        draft_acceptance_rate=shown.accepted / shown.drafted if shown.drafted > 0 else None,
        evidence_requests=task.requests,
        max_k=max_k,
        curves=curves,
    )
