"""What all tasks of a profile have in common: how far its drafts lie above or below the tasks' priors."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from policies.acceptance.estimates import Prior
from policies.acceptance.levels import Level

SHIFT_DEVIATION: Final = 0.5
"""How far, on the logit scale, a drafter is expected to differ from all of its priors together."""
_NEWTON_STEPS: Final = 12
_TOLERANCE: Final = 1e-6
_LARGEST_STEP: Final = 1.0
_SMALLEST_LOGIT: Final = -700.0
"""Its exponential still fits a float."""

Key = TypeVar("Key", bound=Hashable)


class Shift(NamedTuple):
    """Logit shifts of the conditional acceptance and the coverage of every task's prior."""

    acceptance: float = 0.0
    coverage: float = 0.0

    def applied(self, prior: Prior) -> Prior:
        """The prior, moved. Certainties (0 and 1) stay what they are."""
        if not self.acceptance and not self.coverage:
            return prior
        return Prior(
            tuple(_moved(value, self.acceptance) for value in prior.acceptance),
            tuple(_moved(value, self.coverage) for value in prior.coverage),
        )


NO_SHIFT: Final = Shift()


@dataclass(frozen=True, slots=True)
class CommonShift:
    """The shift of a profile: as all tasks show it, and for each task as the others do."""

    all: Shift = NO_SHIFT
    without: Mapping[Hashable, Shift] = field(default_factory=dict)

    def of(self, task: Hashable) -> Shift:
        """The shift that the other tasks ask for: what a task counted itself comes in at its own level."""
        return self.without.get(task, self.all)


def common_shift(evidence: Mapping[Key, tuple[Prior, Level]], *, prior_strength: float) -> CommonShift:
    """The shifts s that explain best how the tasks of one profile lie beside their priors.

    With prior means mu, hits h of n tries (over the design effect) and u = logit^-1(logit(mu) + s), s is the
    solution of

        sum over tasks of f * sum over positions of (h - n * u) = s / SHIFT_DEVIATION^2,

    the mode of a logistic regression with one coefficient and a normal prior. A task differs from the common
    shift by itself, with strength m = prior_strength, hence f = m / (m + sum of its n): no task has more say
    than m tries, however many requests it has. Leaving a task out is one Newton step from s.

    All that is read are sums of counters, so it does not matter how many routers counted them.
    """
    acceptance = [
        (
            key,
            _Regression(
                prior.acceptance, [(p, a) for _, p, a in level.counted], level.design.effect, prior_strength
            ),
        )
        for key, (prior, level) in evidence.items()
        if level.counted
    ]
    coverage = [
        (
            key,
            _Regression(
                prior.coverage, [(r, p) for r, p, _ in level.counted], level.design.effect, prior_strength
            ),
        )
        for key, (prior, level) in evidence.items()
        if level.counted
    ]
    of_acceptance, acceptance_without = _solved(acceptance)
    of_coverage, coverage_without = _solved(coverage)
    return CommonShift(
        Shift(of_acceptance, of_coverage),
        {
            key: Shift(acceptance_without[number], coverage_without[number])
            for number, (key, _) in enumerate(acceptance)
        },
    )


class _Regression:
    """One task's part of the sum: its score and its information at a shift."""

    def __init__(
        self, means: Sequence[float], counted: Sequence[tuple[float, float]], effect: float, strength: float
    ) -> None:
        total = sum(tries for tries, _ in counted) / effect
        factor = strength / (strength + total) / effect if strength + total > 0 else 0.0
        last = len(means) - 1
        # Positions whose prior is the same (all behind the last one given) are one term.
        terms: dict[int, tuple[float, float]] = {}
        for i, (tries, hits) in enumerate(counted):
            at = min(i, last)
            if 0.0 < means[at] < 1.0:
                n, h = terms.get(at, (0.0, 0.0))
                terms[at] = (n + tries * factor, h + hits * factor)
        self._terms = [(_logit(means[at]), n, h) for at, (n, h) in terms.items()]

    def at(self, shift: float) -> tuple[float, float]:
        """Score and information."""
        score = information = 0.0
        for logit, tries, hits in self._terms:
            mean = _expit(logit + shift)
            score += hits - tries * mean
            information += tries * mean * (1.0 - mean)
        return score, information


def _solved(parts: Sequence[tuple[object, _Regression]]) -> tuple[float, list[float]]:
    precision = 1.0 / SHIFT_DEVIATION**2
    shift = 0.0
    found: list[tuple[float, float]] = []
    for _ in range(_NEWTON_STEPS):
        found = [part.at(shift) for _, part in parts]
        score = sum(score for score, _ in found) - shift * precision
        step = score / (sum(information for _, information in found) + precision)
        shift += min(_LARGEST_STEP, max(-_LARGEST_STEP, step))
        if abs(step) < _TOLERANCE:
            break
    information = sum(information for _, information in found) + precision
    return shift, [shift - score / (information - own) for score, own in found]


def _logit(chance: float) -> float:
    return math.log(chance / (1.0 - chance))


def _expit(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-logit)) if logit > _SMALLEST_LOGIT else 0.0


def _moved(chance: float, shift: float) -> float:
    return _expit(_logit(chance) + shift) if 0.0 < chance < 1.0 else chance
