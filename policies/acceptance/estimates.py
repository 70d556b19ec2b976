"""The values of this package: what is assumed, and what is believed after evidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from policies.evidence import MAX_POSITIONS
from policies.speedup import effective_acceptance

NORMAL_90: Final = 1.6448536269514722
"""The standard normal's 95 % point: mean +- this many deviations is a 90 % interval."""


_LEAST_CHANCE: Final = 1e-9
"""Of a position where nothing was ever accepted, where it is divided by."""


class Prior(NamedTuple):
    """What is assumed before evidence, by position; the last value stands for all positions after it."""

    acceptance: tuple[float, ...]
    coverage: tuple[float, ...]


class Curves(NamedTuple):
    """What a step brings and takes with each cap k, indexed by k from 0; see `Estimate` for each."""

    lengths: tuple[float, ...]
    deviations: tuple[float, ...]
    drafted: tuple[float, ...]
    proposing: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Estimate:
    """The posterior of one cell, and the numbers derived from it.

    `acceptance` and `coverage` are the posterior means of alpha_i and c_i by position; `spread` the standard
    deviations of p_i = c_i * alpha_i, and `shared` that part of them which all positions have in common, the
    error of what they were shrunk toward (empty: none). `alpha` is the effective acceptance at `reference_k`
    with its 90 % `interval`. `own_steps` counts the (decayed) steps of the most specific cell,
    `evidence_steps` and `evidence_requests` those of its task. `draft_acceptance_rate` is what was counted,
    at whatever k it was; None where nothing was proposed.

    Indexed by k from 0 to the larger of `max_k` and `reference_k`: `lengths` is E[L_k] in tokens per step,
    `deviations` its standard deviation, `drafted` the draft tokens that a step is expected to verify, and
    `proposing` the chance that it verifies any. They follow from the positions unless `curves` says them.

    Deviations are those of the log-normal distribution that has the same 90 % interval (relative ones are
    the deviations of its logarithm): with few requests they are wider than the posterior's own (see
    `design.widening`). A decision takes the time per token, which goes with 1 / L_k, as log-normal with
    them, hence is as careful as the interval.
    """

    acceptance: tuple[float, ...]
    coverage: tuple[float, ...]
    spread: tuple[float, ...]
    reference_k: int
    evidence_steps: float = 0.0
    own_steps: float = 0.0
    draft_acceptance_rate: float | None = None
    evidence_requests: float = 0.0
    max_k: int = MAX_POSITIONS
    shared: tuple[float, ...] = ()
    curves: Curves | None = field(default=None, repr=False)
    lengths: tuple[float, ...] = field(init=False)
    deviations: tuple[float, ...] = field(init=False)
    drafted: tuple[float, ...] = field(init=False)
    proposing: tuple[float, ...] = field(init=False)
    alpha: float = field(init=False)

    def __post_init__(self) -> None:
        highest = max(self.max_k, self.reference_k)
        curves = self.curves or curves_of(
            self.acceptance, self.coverage, self.spread, highest, shared=self.shared
        )
        object.__setattr__(self, "lengths", curves.lengths)
        object.__setattr__(self, "deviations", curves.deviations)
        object.__setattr__(self, "drafted", curves.drafted)
        object.__setattr__(self, "proposing", curves.proposing)
        object.__setattr__(
            self, "alpha", effective_acceptance(curves.lengths[self.reference_k], self.reference_k)
        )

    @property
    def interval(self) -> tuple[float, float]:
        """The 90 % interval of `alpha`: that of E[L_k], whose logarithm is taken as normal."""
        length, deviation = self.length(self.reference_k)
        factor = math.exp(NORMAL_90 * deviation / length)
        return (
            effective_acceptance(length / factor, self.reference_k),
            effective_acceptance(length * factor, self.reference_k),
        )

    def length(self, k: int) -> tuple[float, float]:
        """E[L_k] and its standard deviation, in tokens per step; beyond the last k known, those of that k."""
        k = min(k, len(self.lengths) - 1)
        return self.lengths[k], self.deviations[k]

    def expected_draft_acceptance_rate(self) -> float:
        """The draft acceptance rate the posterior predicts at `reference_k`; 0 where nothing is proposed.

        The counted rate falls as k grows, and k is what the router chooses: a threshold on it would chase its
        own tail. At one k the two agree once there is evidence.
        """
        drafted = self.drafted[self.reference_k]
        accepted = self.lengths[self.reference_k] - 1.0
        return min(1.0, accepted / drafted) if drafted > 0 else 0.0


def curves_of(
    acceptance: Sequence[float],
    coverage: Sequence[float],
    spread: Sequence[float],
    highest: int,
    *,
    shared: Sequence[float] = (),
) -> Curves:
    """E[L_k] and what goes with it for k = 0..highest, from the positions; the last stands for later ones.

    Deviations by the delta method: with R_i the chance to accept at least i tokens, dE[L_k]/dp_j is
    (R_j + ... + R_k) / p_j. The positions' errors are independent but for their `shared` parts, which add up
    as they are. One pass: each k adds R_k to the sums of all positions up to it, so it is enough to carry the
    sum of squares, of products with it, and of weights.
    """
    last = len(acceptance) - 1
    shared = shared or (0.0,) * len(acceptance)
    lengths, deviations, drafted, proposing = [1.0], [0.0], [0.0], [0.0]
    weights = products = variance = 0.0
    shared_weights = together = 0.0
    length = reach = lifted = proposed = 1.0
    c = chance = divisor = common = weight = 0.0
    verified = 0.0
    for i in range(highest):
        if i <= last:
            c = coverage[i]
            chance = acceptance[i] * c
            # Where nothing was ever accepted the slope is not 0, so the reach must not be either.
            divisor = chance if chance > _LEAST_CHANCE else _LEAST_CHANCE
            common, own = shared[i] / divisor, spread[i] / divisor
            weight = own * own - common * common
            if weight < 0.0:
                weight = 0.0
        reach *= chance
        length += reach
        proposed *= c
        verified += proposed
        lifted *= divisor
        weights += weight
        shared_weights += common
        weighted = lifted * weights
        variance += lifted * (2.0 * products + weighted)
        products += weighted
        together += lifted * shared_weights
        lengths.append(length)
        drafted.append(verified)
        deviations.append(math.sqrt(variance + together * together))
    proposing += [coverage[0]] * highest
    return Curves(tuple(lengths), tuple(deviations), tuple(drafted), tuple(proposing))
