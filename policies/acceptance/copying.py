"""The posterior of a drafter that copies, from replays of its drafts at every k.

Statistics of one k misjudge another where a drafter copies: a rejected draft moves on to text where the next
lookup finds something else. So nothing is inferred from positions here. For each k the accepted and drafted
tokens per step and the share of steps with a draft are those of that k, shrunk toward what is believed one
level above: with r_k = accepted_k / steps_k and n_k = steps_k over the design effect of that k,

    E[L_k] = 1 + (m * (E[L_k above] - 1) + n_k * r_k) / (m + n_k)
    Var(L_k) = Var(a | k) / (m + n_k + 1)

where Var(a | k) is that of one step. With many requests the second is the ratio estimator's variance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

from policies.acceptance.design import (
    PRIOR_CORRELATION,
    Design,
    accepted_variances,
    chances,
    design_of,
    widening,
)
from policies.acceptance.estimates import Curves, Estimate, Prior, curves_of
from policies.acceptance.levels import (
    EMPTY_LEVEL,
    Level,
    assumed,
    concluded,
    descended,
    joined,
    learned,
)
from policies.evidence import MAX_POSITIONS, Position, sound_parts

_ROUNDING: Final = 1e-6
_NO_POSITION: Final = (Position(0.0, 0.0, 0.0),)
"""Of answers of two tokens: their only step is their last, of which rejections do not count."""
_NAMES: Final = tuple((f"drafted:{k}", f"proposing:{k}") for k in range(1, MAX_POSITIONS + 1))


class AtK(NamedTuple):
    """What replays with one k counted (steps with a draft are `proposing`), and their design effect."""

    steps: float
    accepted: float
    drafted: float
    proposing: float
    effect: float
    freedom: float


@dataclass(frozen=True, slots=True)
class Replays:
    """The (decayed) counters of one level of replays: by position at the largest k, and for every k from 1.

    `variances` are those of the accepted tokens of one step, by k, and `correlation` that of two steps.
    """

    level: Level = EMPTY_LEVEL
    at: tuple[AtK, ...] = ()
    variances: Sequence[float] = ()
    correlation: float = PRIOR_CORRELATION


NO_REPLAYS: Final = Replays()


class MeansAtK(NamedTuple):
    """Accepted and drafted tokens per step, chances of a draft, and the weight behind them, by k from 1."""

    accepted: list[float]
    drafted: list[float]
    proposing: list[float]
    weights: list[float]


def replays(counts: Mapping[str, float], factor: float = 1.0, above: Replays = NO_REPLAYS) -> Replays:
    """A level of counters as `policies.replay` makes them, times `factor`; unsound ones make an empty one.

    `above` is the level of which this is a part: the variance of single steps is taken from there, as is
    what to assume of their correlation.
    """
    parts = sound_parts(counts, factor) if counts else None
    if parts is None:
        return NO_REPLAYS
    counted, groups = tuple(parts[0]), parts[1]
    variances = above.variances
    if len(variances) < len(groups):
        variances = accepted_variances(chances(counted or _NO_POSITION), len(groups))
    found: list[AtK] = []
    slack = 1 + _ROUNDING
    for number, group in enumerate(groups):
        if group.k != number + 1 or number >= len(variances):  # every answer is replayed at every k
            break
        name_of_drafted, name_of_proposing = _NAMES[number]
        drafted, proposing = (
            counts.get(name_of_drafted, 0.0) * factor,
            counts.get(name_of_proposing, 0.0) * factor,
        )
        x, y = group.x, max(0.0, group.y)
        if y > drafted * slack or drafted > group.k * proposing * slack or proposing > x * slack:
            return NO_REPLAYS
        effect, freedom = design_of(group, variances[number], above.correlation)
        found.append(AtK(x, y, drafted, proposing, effect, freedom))
    if not found:
        return NO_REPLAYS
    last, size = found[-1], groups[len(found) - 1].xx
    correlation = (
        (last.effect - 1.0) * last.steps / (size - last.steps) if size > last.steps else above.correlation
    )
    correlation = min(1.0, correlation)
    return Replays(
        level=Level(
            counted,
            Design(last.effect, correlation, last.freedom),
            groups[0].requests,
            last.drafted,
            last.accepted,
        ),
        at=tuple(found),
        variances=variances,
        correlation=correlation,
    )


def estimate_copying(
    prior: Prior, levels: Sequence[Replays], *, prior_strength: float, reference_k: int, max_k: int
) -> Estimate:
    """The posterior of the last of `levels`, which follow one another as those of `levels.estimate` do."""
    task, own = (levels[0], levels[-1]) if levels else (NO_REPLAYS, NO_REPLAYS)
    by_position = assumed(prior, task.level, prior_strength, reference_k)
    by_k = assumed_at(prior, prior_strength, max(reference_k, max_k))
    for one, below in pairwise(levels):
        by_position = descended(learned(by_position, one.level, below.level), prior_strength)
        by_k = descended_at(learned_at(by_k, one, below), prior_strength)
    positions = concluded(by_position, own.level, task=task.level, reference_k=reference_k, max_k=max_k)
    return concluded_at(by_k, own, task=task, positions=positions)


def assumed_at(prior: Prior, prior_strength: float, highest: int) -> MeansAtK:
    """What the prior gives to the task, by k."""
    curves = curves_of(prior.acceptance, prior.coverage, (0.0,) * len(prior.acceptance), highest)
    return MeansAtK(
        [length - 1.0 for length in curves.lengths[1:]],
        list(curves.drafted[1:]),
        list(curves.proposing[1:]),
        [joined(prior_strength, prior_strength)] * highest,
    )


def learned_at(given: MeansAtK, one: Replays, below: Replays = NO_REPLAYS) -> MeansAtK:
    """What was given, after a level's counts, but for those that `below` counts as well."""
    accepted, drafted, proposing, weights = map(list, given)
    parts = below.at
    for i, (x, y, d, p, effect, _) in enumerate(one.at[: len(accepted)]):
        if i < len(parts):
            part = parts[i]
            # Against rounding, and against a part that arrived before the whole.
            x, y = max(0.0, x - part[0]), max(0.0, y - part[1])
            d, p = max(0.0, d - part[2]), max(0.0, p - part[3])
            if x <= 0:
                continue
        weight = weights[i]
        if (total := weight + x / effect) > 0:
            accepted[i] = (weight * accepted[i] + y / effect) / total
            drafted[i] = (weight * drafted[i] + d / effect) / total
            proposing[i] = (weight * proposing[i] + p / effect) / total
            weights[i] = total
    return MeansAtK(accepted, drafted, proposing, weights)


def descended_at(above: MeansAtK, prior_strength: float) -> MeansAtK:
    """What one level gives to the next."""
    return above._replace(weights=[joined(prior_strength, weight) for weight in above.weights])


def concluded_at(given: MeansAtK, own: Replays, *, task: Replays, positions: Estimate) -> Estimate:
    """The estimate of the last level, `own`, around what the levels above gave it.

    `positions` is what the positions say, which is shown, and continues the curves where a k is asked about
    that was never replayed.
    """
    found = learned_at(given, own)
    variances = task.variances or own.variances
    lengths, deviations, drafted, proposing = [1.0], [0.0], [0.0], [0.0]
    for i, (y, d, p, weight) in enumerate(zip(*found, strict=True)):
        if i >= len(task.at):
            lengths.append(lengths[-1] + positions.lengths[i + 1] - positions.lengths[i])
            drafted.append(drafted[-1] + positions.drafted[i + 1] - positions.drafted[i])
            proposing.append(proposing[-1] if i else positions.proposing[1])
            deviations.append(max(deviations[-1], positions.deviations[i + 1]))
            continue
        d = min(d, i + 1.0)
        lengths.append(1.0 + min(y, d))
        drafted.append(d)
        proposing.append(min(1.0, p))
        share = 1.0 - given.weights[i] / weight if weight > 0 else 0.0
        wider = 1.0 + (widening(own.at[i].freedom) ** 2 - 1.0) * share if i < len(own.at) else 1.0
        deviations.append(math.sqrt(variances[i] * wider / (weight + 1.0)))
    shown = own if own.at else task
    return Estimate(
        acceptance=positions.acceptance,
        coverage=positions.coverage,
        spread=positions.spread,
        shared=positions.shared,
        reference_k=positions.reference_k,
        evidence_steps=task.level.steps,
        own_steps=own.level.steps,
        draft_acceptance_rate=shown.level.accepted / shown.level.drafted if shown.level.drafted > 0 else None,
        evidence_requests=task.level.requests,
        max_k=positions.max_k,
        curves=Curves(tuple(lengths), tuple(deviations), tuple(drafted), tuple(proposing)),
    )
