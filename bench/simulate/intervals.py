"""Ratios over seeds, with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

_STUDENT_95: Final = (
    *(6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812),
    *(1.796, 1.782, 1.771, 1.761, 1.753, 1.746, 1.740, 1.734, 1.729, 1.725),
)
"""Student's t: the 95 % point with 1 to 20 degrees of freedom."""
_NORMAL_95: Final = 1.645


class Interval(NamedTuple):
    """A mean and its 90 % interval. With a single seed there is none: low and high are the mean."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """As in a table: `1.02 (1.00-1.04)`."""
        return f"{self.mean:.3f} ({self.low:.3f}-{self.high:.3f})"


def paired_ratio(ours: Sequence[float], others: Sequence[float]) -> Interval:
    """The geometric mean of ours over theirs, seed by seed, with Student's 90 % interval of its logarithm.

    Both sides met the same workload under each seed, so the workload's luck cancels.
    """
    logs = [math.log(our / other) for our, other in zip(ours, others, strict=True)]
    mean = sum(logs) / len(logs)
    half = 0.0
    if len(logs) > 1:
        variance = sum((log - mean) ** 2 for log in logs) / (len(logs) - 1)
        half = _student(len(logs) - 1) * math.sqrt(variance / len(logs))
    return Interval(math.exp(mean), math.exp(mean - half), math.exp(mean + half))


def _student(freedom: int) -> float:
    return _STUDENT_95[freedom - 1] if freedom <= len(_STUDENT_95) else _NORMAL_95
