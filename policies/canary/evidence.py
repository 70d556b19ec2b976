"""What is counted of the requests of a canary and of the policy beside it: sums, so that routers add up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Final, Literal, NamedTuple, Self, get_args

Arm = Literal["candidate", "main"]
Metric = Literal["decode", "total"]
"""Times per output token: from the first token to the last, and from the request's arrival to its end."""
Loss = Literal["failed", "cancelled"]

_ARMS: Final[Mapping[str, Arm]] = {arm: arm for arm in get_args(Arm)}
_PARTS: Final = 3


class Cell(NamedTuple):
    """Requests that are counted together. `group` is of tenants, 0 where requests are divided one by one."""

    arm: Arm
    task: str
    group: int = 0


class Moments(NamedTuple):
    """Number, sum and sum of squares of logarithms of seconds per token."""

    n: float = 0.0
    total: float = 0.0
    squares: float = 0.0

    @property
    def deviations(self) -> float:
        """Sum of squared deviations from the mean."""
        return max(0.0, self.squares - self.total**2 / self.n) if self.n > 0 else 0.0

    @property
    def mean(self) -> float:
        """The mean; 0 of nothing."""
        return self.total / self.n if self.n > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Count:
    """The sums over the requests of a cell.

    `requests` completed, `failed`, or were `cancelled` by their clients; per metric the moments of the
    completed ones that have it.
    """

    requests: float = 0.0
    failed: float = 0.0
    cancelled: float = 0.0
    decode_n: float = 0.0
    decode_total: float = 0.0
    decode_squares: float = 0.0
    total_n: float = 0.0
    total_total: float = 0.0
    total_squares: float = 0.0

    @classmethod
    def completed(cls, *, decode_s: float | None, total_s: float | None, tokens: int) -> Self:
        """One request that was answered: its times, where they are known, and its output tokens."""
        decode, total = _log_rate(decode_s, tokens - 1), _log_rate(total_s, tokens)
        return cls(1.0, 0.0, 0.0, *_moments(decode), *_moments(total))

    def __add__(self, other: Count) -> Count:
        return Count(*(getattr(self, name) + getattr(other, name) for name in _FIELDS))

    def moments(self, metric: Metric) -> Moments:
        """The moments of one metric."""
        if metric == "decode":
            return Moments(self.decode_n, self.decode_total, self.decode_squares)
        return Moments(self.total_n, self.total_total, self.total_squares)

    def losses(self, loss: Loss) -> Moments:
        """The moments of what is 1 for a request that was lost this way, and else 0."""
        lost = self.failed if loss == "failed" else self.cancelled
        return Moments(self.requests, lost, lost)


FAILED: Final = Count(requests=1.0, failed=1.0)
CANCELLED: Final = Count(requests=1.0, cancelled=1.0)

_FIELDS: Final = tuple(field.name for field in fields(Count))


def fields_of(counts: Mapping[Cell, Count]) -> dict[str, float]:
    """Counts under flat names, `arm:group:task:sum`; sums that are 0 are left out."""
    return {
        f"{cell.arm}:{cell.group}:{cell.task}:{name}": value
        for cell, count in counts.items()
        for name in _FIELDS
        if (value := getattr(count, name))
    }


def parse_fields(values: Iterable[tuple[str, float]]) -> dict[Cell, Count]:
    """The counts that flat names and values stand for; names of other layouts are passed over."""
    found: dict[str, dict[str, float]] = {}
    # By tenant there are thousands of names, so what is left for each is little.
    for text, value in values:
        cell, _, name = text.rpartition(":")
        if name in _FIELDS and math.isfinite(value):
            found.setdefault(cell, {})[name] = value
    counts = {}
    for text, sums in found.items():
        parts = text.split(":")
        if len(parts) == _PARTS and parts[0] in _ARMS and parts[1].isdecimal():
            counts[Cell(_ARMS[parts[0]], parts[2], int(parts[1]))] = Count(**sums)
    return counts


def _log_rate(seconds: float | None, tokens: int) -> float | None:
    if seconds is None or seconds <= 0 or tokens < 1:
        return None
    return math.log(seconds / tokens)


def _moments(value: float | None) -> Moments:
    return Moments() if value is None else Moments(1.0, value, value * value)
