"""A circuit breaker: after repeated failures, calls are refused at once instead of waiting for a timeout.

closed ──failures──▶ open ──pause over──▶ half-open ──success──▶ closed
                      ▲                       │
                      └──failure, longer pause┘
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class BreakerState(StrEnum):
    """What the breaker does with the next call."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When to open, and how long to stay so: first_pause_s · growth^n, at most max_pause_s."""

    failures_to_open: int = 3
    first_pause_s: float = 0.5
    growth: float = 2.0
    max_pause_s: float = 8.0


class CircuitBreaker:
    """Decides whether a call may be tried; told how it ended. `clock` is monotonic, in seconds.

    A half-open breaker lets one probe through. A probe that never reports (its task was cancelled) is given
    up after the current pause, so nothing has to be released.
    """

    def __init__(self, clock: Callable[[], float], settings: BreakerSettings | None = None) -> None:
        self._clock = clock
        self._settings = settings or BreakerSettings()
        self._failures = 0
        self._pause_s = 0.0
        self._retry_at_s: float | None = None
        self._probing = False

    @property
    def state(self) -> BreakerState:
        """The state as of the last call of `allow` or `record_…`."""
        if self._retry_at_s is None:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if self._probing else BreakerState.OPEN

    @property
    def retry_in_s(self) -> float:
        """How long calls will be refused from now; 0 when one may be tried."""
        return 0.0 if self._retry_at_s is None else max(0.0, self._retry_at_s - self._clock())

    def allow(self) -> bool:
        """Whether to try; True in the open state makes the caller the probe."""
        if self._retry_at_s is None:
            return True
        now_s = self._clock()
        if now_s < self._retry_at_s:
            return False
        self._probing = True
        self._retry_at_s = now_s + self._pause_s
        return True

    def record_success(self) -> None:
        """The call was answered: close, and forget earlier failures."""
        self._failures = 0
        self._pause_s = 0.0
        self._retry_at_s = None
        self._probing = False

    def record_failure(self) -> None:
        """The call was not answered: open once there were enough, and pause longer after a failed probe."""
        self._failures += 1
        if self._failures < self._settings.failures_to_open:
            return
        longer_s = self._pause_s * self._settings.growth if self._probing else self._pause_s
        self._pause_s = min(max(longer_s, self._settings.first_pause_s), self._settings.max_pause_s)
        self._retry_at_s = self._clock() + self._pause_s
        self._probing = False
