"""How much longer the candidate takes, over all tasks and per task, with bounds that hold at any time.

Per task t with n_c and n_m requests of the two arms, the difference of their means of log seconds per token
d_t, and weights w_t = n_c n_m / (n_c + n_m), which at a fixed share are the tasks' shares of the traffic:

    d = sum w_t d_t / sum w_t        variance = sum w_t^2 (s_c^2 / n_c + s_m^2 / n_m) / (sum w_t)^2

exp(d) is a ratio of geometric means. Tasks are compared with themselves: a share that happens to get more of
a slow task looks no slower. Variances are the arms' own, since a candidate may well scatter more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from policies.canary.evidence import Arm, Cell, Count, Moments
from policies.canary.sequence import boundary

RATIO_SCALE: Final = 0.1
"""The log ratio that the tests are made for: a candidate about a tenth slower."""
_ASSUMED_REQUESTS: Final = 5.0
"""Few requests of a task are helped out by what all tasks scatter, worth so many."""
_LEAST_VARIANCE: Final = 1e-6
"""Nothing measured scatters less than a thousandth."""
_LEAST_FREEDOM: Final = 2.0

_ARMS: Final[tuple[Arm, Arm]] = ("candidate", "main")


class Effect(NamedTuple):
    """An estimated difference and the variance of the estimate."""

    difference: float
    variance: float

    def bounds(self, error: float, scale: float) -> tuple[float, float]:
        """Always-valid bounds of the difference, each wrong with probability of `error` at most."""
        margin = math.sqrt(self.variance) * boundary(1.0 / self.variance, error, scale)
        return self.difference - margin, self.difference + margin


class Ratio(NamedTuple):
    """Candidate over main; each bound holds for itself, at any time, with the stated confidence."""

    estimate: float
    lower: float
    upper: float


def ratio(effect: Effect | None, error: float) -> Ratio | None:
    """The ratio of times that a difference of logarithms stands for."""
    if effect is None:
        return None
    lower, upper = effect.bounds(error, RATIO_SCALE)
    return Ratio(_exp(effect.difference), _exp(lower), _exp(upper))


def effect(
    counts: Mapping[Cell, Count],
    moments: Callable[[Count], Moments],
    *,
    by_tenant: bool,
    least_variance: float = _LEAST_VARIANCE,
) -> Effect | None:
    """The difference between the arms over all tasks counted; None while it cannot be estimated.

    Where tenants were divided, theirs are the differences that chance divided: groups of tenants are
    clusters, and the variance is that between them, made larger where they are few.
    """
    found = _Sums(counts, moments)
    weights = {task: _weight(found.n("candidate", task), found.n("main", task)) for task in found.tasks}
    whole = math.fsum(weights.values())
    if whole <= 0:
        return None
    parts = {task: weight / whole for task, weight in weights.items()}
    difference = math.fsum(
        part * (found.mean("candidate", task) - found.mean("main", task)) for task, part in parts.items()
    )
    variance = math.fsum(
        part**2 * found.variance(arm, task, least_variance) / found.n(arm, task)
        for task, part in parts.items()
        for arm in _ARMS
    )
    if by_tenant:
        between = found.between_groups(parts)
        if between is None:
            return None
        variance = max(variance, between)
    return Effect(difference, variance)


class _Sums:
    """Moments per arm and task, and per group of tenants."""

    def __init__(self, counts: Mapping[Cell, Count], moments: Callable[[Count], Moments]) -> None:
        self._groups: dict[Arm, dict[int, list[tuple[str, Moments]]]] = {arm: {} for arm in _ARMS}
        parts: dict[tuple[Arm, str], list[Moments]] = {}
        for cell, count in counts.items():
            own = moments(count)
            if own.n > 0:
                self._groups[cell.arm].setdefault(cell.group, []).append((cell.task, own))
                parts.setdefault((cell.arm, cell.task), []).append(own)
        self._cells = {key: Moments(*map(math.fsum, zip(*own, strict=True))) for key, own in parts.items()}
        self._scatter = {arm: self._over_tasks(arm) for arm in _ARMS}
        self.tasks = sorted(
            {task for arm, task in self._cells if arm == "main" and ("candidate", task) in parts}
        )
        """Those that both arms have."""

    def n(self, arm: Arm, task: str) -> float:
        """Requests."""
        return self._cells[arm, task].n

    def mean(self, arm: Arm, task: str) -> float:
        """Mean logarithm."""
        return self._cells[arm, task].mean

    def variance(self, arm: Arm, task: str, least: float) -> float:
        """Of one request of the task, few of them helped out by the arm's other tasks."""
        own = self._cells[arm, task]
        freedom = max(0.0, own.n - 1.0) + _ASSUMED_REQUESTS
        return max(least, (own.deviations + _ASSUMED_REQUESTS * self._scatter[arm]) / freedom)

    def between_groups(self, parts: Mapping[str, float]) -> float | None:
        """Variance of the difference from the scatter of groups; None while they are too few to say.

        What a few groups say of their own variance is uncertain: it is multiplied by f / (f - 2), the
        variance of Student's t with as many degrees of freedom f (Satterthwaite).
        """
        found = [self._between(arm, parts) for arm in _ARMS]
        if any(freedom <= 0 for _, freedom in found):
            return None
        whole = math.fsum(variance for variance, _ in found)
        spread = math.fsum(variance**2 / freedom for variance, freedom in found)
        freedom = whole**2 / spread if spread > 0 else math.inf
        if freedom <= _LEAST_FREEDOM:
            return None
        return whole * (1.0 if math.isinf(freedom) else freedom / (freedom - _LEAST_FREEDOM))

    def _between(self, arm: Arm, parts: Mapping[str, float]) -> tuple[float, float]:
        """Variance of an arm's part of the difference, and its degrees of freedom.

        Per group g, u_g = sum of its deviations from the arm's means, weighted as in the estimate; the
        variance is G / (G - 1) sum u_g^2, with G the number of groups of equal size that would be worth as
        much (Kish).
        """
        weights = {task: (part / self.n(arm, task), self.mean(arm, task)) for task, part in parts.items()}
        squares, size, sizes = 0.0, 0.0, 0.0
        for tasks in self._groups[arm].values():
            deviation, requests = 0.0, 0.0
            for task, own in tasks:
                if (weight := weights.get(task)) is not None:
                    deviation += weight[0] * (own.total - own.n * weight[1])
                    requests += own.n
            squares += deviation**2
            size += requests
            sizes += requests**2
        groups = size**2 / sizes if sizes else 0.0
        return (groups / (groups - 1.0) * squares, groups - 1.0) if groups > 1.0 else (0.0, 0.0)

    def _over_tasks(self, arm: Arm) -> float:
        cells = [moments for (of, _), moments in self._cells.items() if of == arm]
        freedom = math.fsum(max(0.0, moments.n - 1.0) for moments in cells)
        return math.fsum(moments.deviations for moments in cells) / freedom if freedom else 0.0


def _weight(candidate: float, main: float) -> float:
    return candidate * main / (candidate + main)


def _exp(value: float) -> float:
    return math.exp(min(value, 700.0))
