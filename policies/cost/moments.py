"""Sums over steps from which a step time can be fitted, additive over replicas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from policies.cost.steps import StepTime

Matrix = NDArray[np.float64]

FEATURES: Final = len(StepTime._fields)
REQUESTS, VERIFYING, DRAFTED, CONTEXT, PREFILL = map(
    StepTime._fields.index, ("per_request", "verify", "per_drafted", "per_context", "per_prefill")
)
"""Columns of a record."""
_SIDE: Final = FEATURES + 1
_UPPER: Final = np.triu_indices(_SIDE)
_LISTED: Final = len(_UPPER[0]) + 1

MAX_STEP_S: Final = 600.0
"""A pass of more is no pass: a suspended machine, or a broken clock."""
MAX_COUNT: Final = 1e8
"""More of anything in one pass is a broken counter."""


def usable(rows: Matrix) -> NDArray[np.bool_]:
    """Which of the records (features, then seconds, a row each) can be true.

    Not those with NaN, infinite or negative numbers, with counts or durations beyond all reason, without any
    work, or with draft tokens in a pass that verifies none.
    """
    with np.errstate(invalid="ignore"):
        sane = np.isfinite(rows).all(axis=1) & (rows >= 0).all(axis=1) & (rows <= MAX_COUNT).all(axis=1)
        seconds, work = rows[:, -1], rows[:, REQUESTS] + rows[:, PREFILL]
        verifying, drafted = rows[:, VERIFYING], rows[:, DRAFTED]
        timed = (seconds > 0) & (seconds <= MAX_STEP_S)
        drafts = (verifying <= 1) & ((drafted == 0) | (verifying > 0))
    return np.asarray(sane & timed & (work > 0) & drafts, dtype=np.bool_)


class StepMoments:
    """Weighted second moments of steps: the Gram matrix of their features with their seconds.

    With x a step's features and y its seconds, `matrix` is the sum of w [x y][x y]', and `steps` the sum of
    the steps' own weights (before their relevance was divided by their expected duration: see
    `policies.cost.recorder`). Everything is a sum, so moments of replicas add, and forgetting is a factor.
    """

    __slots__ = ("matrix", "steps")

    def __init__(self, matrix: Matrix, steps: float) -> None:
        self.matrix = matrix
        self.steps = steps

    @classmethod
    def empty(cls) -> Self:
        """Of no steps."""
        return cls(np.zeros((_SIDE, _SIDE)), 0.0)

    @classmethod
    def of(cls, rows: Matrix, weights: Matrix, counts: Matrix) -> Self:
        """Of records: `rows` features and seconds, `weights` in the matrix, `counts` in `steps`."""
        return cls((rows * weights[:, None]).T @ rows, float(counts.sum()))

    def scaled(self, factor: float) -> StepMoments:
        """As if every step weighed `factor` times as much."""
        return StepMoments(self.matrix * factor, self.steps * factor)

    def slowed(self, factor: float) -> StepMoments:
        """As if every step had taken `factor` (> 0) times as long, and were weighed so."""
        clock = np.full(_SIDE, 1.0 / factor)
        clock[FEATURES] = 1.0
        return StepMoments(self.matrix * np.outer(clock, clock), self.steps)

    def usual_context(self) -> float:
        """Mean tokens of context of a decoding request; 0 where none decoded."""
        requests = float(self.matrix[REQUESTS, REQUESTS])
        return float(self.matrix[REQUESTS, CONTEXT]) / requests if requests > 0 else 0.0

    def merged(self, other: StepMoments) -> StepMoments:
        """Of the steps of both."""
        return StepMoments(self.matrix + other.matrix, self.steps + other.steps)

    def to_list(self) -> list[float]:
        """Plain numbers, for JSON."""
        upper: list[float] = self.matrix[_UPPER].tolist()
        return [self.steps, *upper]

    @classmethod
    def from_list(cls, values: Sequence[Any]) -> Self:
        """What `to_list` gave.

        Raises:
            ValueError: These are not the moments of any steps.
        """
        if len(values) != _LISTED or not all(
            isinstance(value, int | float) and math.isfinite(value) and value >= 0 for value in values
        ):
            raise ValueError(f"step moments: expected {_LISTED} finite numbers, none negative")
        matrix = np.zeros((_SIDE, _SIDE))
        matrix[_UPPER] = values[1:]
        matrix = matrix + np.triu(matrix, 1).T
        diagonal = np.sqrt(np.diag(matrix))
        if (matrix > np.outer(diagonal, diagonal) * (1 + 1e-6) + 1e-300).any():
            raise ValueError("step moments: no steps have these products")
        return cls(matrix, float(values[0]))
