"""One (profile, task): does it still accept what it used to?

The posterior cannot be the reference: it follows a drift, and what follows hides it. The detector keeps its
own, a self-starting one (D. M. Hawkins, "Self-starting CUSUM charts for location and scale", The Statistician
36, 1987): the requests themselves, by temperature. They join it some requests late, so that those which may
have changed are not yet part of what they are compared with. After an alarm the requests since the change are
the new reference, and the way back is found as fast as the way there.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from policies.acceptance import Estimate
from policies.cells import TemperatureBucket
from policies.drift.cusum import Cusum, Direction
from policies.drift.reference import Correlation, Reading, Reference, Residual
from policies.evidence import Position

ALLOWANCE: Final = 0.6
THRESHOLD: Final = 9.0
CLIP: Final = 1.5
READY_REQUESTS: Final = 20.0
OWN_REQUESTS: Final = 8.0
"""Fewer requests of a task, or of a temperature, are no reference to raise an alarm by."""
LAG_REQUESTS: Final = 24
"""How late requests join the reference: later than a fall worth an alarm is found."""
SEED_STEPS: Final = 1000.0
"""Steps behind an estimate from which it hardly depends on its prior any more."""


class Change(NamedTuple):
    """A detected change of a task's effective acceptance, and the requests it was seen in."""

    direction: Direction
    before: float
    after: float
    requests: int


@dataclass(frozen=True, slots=True)
class _Waiting:
    reading: Reading
    residual: Residual


class Detector:
    """A standardized two-sided CUSUM over the residuals of one task's requests on one profile."""

    def __init__(self) -> None:
        self._references: dict[TemperatureBucket, Reference] = {}
        self._correlation = Correlation()
        self._waiting: deque[_Waiting] = deque()
        self._cusum = Cusum(ALLOWANCE, THRESHOLD, CLIP)
        self._level: float | None = None
        self.reference_k = 1

    @property
    def level(self) -> float | None:
        """Effective acceptance at the reference k over all temperatures; None before there is evidence."""
        return self._level

    @property
    def gathering(self) -> Change | None:
        """The change that evidence has begun to gather for, a quarter of an alarm at least."""
        direction = self._cusum.leaning(THRESHOLD / 4)
        return None if direction is None else self._compared(direction, self._since(direction))[0]

    def observe(self, reading: Reading, expected: Estimate) -> Change | None:
        """Compare a request with the reference, and make it part of the reference in time."""
        self.reference_k = max(1, expected.reference_k)
        reference = self._reference(reading, expected)
        residual = reference.residual(reading.positions)
        if residual is None or not self._is_ready(reference):
            self._join(reading, residual)
            return None
        # The reference is an estimate too: of n requests' mean, which has a variance of its own.
        variance = self._correlation.variance(residual) * (1.0 + 1.0 / reference.requests)
        direction = self._cusum.add(residual.tokens / math.sqrt(variance))
        self._waiting.append(_Waiting(reading, residual))
        if direction is not None:
            return self._changed(direction)
        if len(self._waiting) > LAG_REQUESTS:
            waited = self._waiting.popleft()
            self._join(waited.reading, waited.residual)
        return None

    def restart(self) -> None:
        """Forget the reference: the evidence was cut by somebody else, who saw the change first."""
        self._references.clear()
        self._waiting.clear()
        self._cusum.restart()
        self._level = None

    def _reference(self, reading: Reading, expected: Estimate) -> Reference:
        """The reference of a temperature; a new one starts with what is known from elsewhere, if much is."""
        reference = self._references.get(reading.temperature)
        if reference is None:
            reference = self._references[reading.temperature] = Reference()
            if expected.own_steps >= SEED_STEPS:
                reference.add(_expected_positions(expected, READY_REQUESTS * reading.steps), READY_REQUESTS)
        return reference

    def _is_ready(self, reference: Reference) -> bool:
        known = sum(each.requests for each in self._references.values())
        return known >= READY_REQUESTS and reference.requests >= OWN_REQUESTS

    def _join(self, reading: Reading, residual: Residual | None) -> None:
        reference = self._references[reading.temperature]
        if residual is not None and reference.requests >= OWN_REQUESTS / 2:
            self._correlation.add(residual, CLIP * CLIP)
        reference.add(reading.positions)
        self._level = _level(self._references, self.reference_k)

    def _changed(self, direction: Direction) -> Change:
        """The alarm's change; the requests since then are the new reference."""
        waiting = list(self._waiting)
        since = self._since(direction)
        for waited in waiting[: len(waiting) - len(since)]:
            self._join(waited.reading, waited.residual)
        change, references = self._compared(direction, since)
        self.restart()
        self._references, self._level = references, change.after
        return change

    def _since(self, direction: Direction) -> list[_Waiting]:
        run = min(len(self._waiting), self._cusum.run(direction))
        return list(self._waiting)[len(self._waiting) - run :]

    def _compared(
        self, direction: Direction, since: Iterable[_Waiting]
    ) -> tuple[Change, dict[TemperatureBucket, Reference]]:
        fresh: dict[TemperatureBucket, Reference] = {}
        requests = 0
        for waited in since:
            fresh.setdefault(waited.reading.temperature, Reference()).add(waited.reading.positions)
            requests += 1
        # Temperatures weigh as they do now on both sides: a different mix of them is no change.
        before = _mean(
            (reference.requests, self._references[temperature].alpha(self.reference_k))
            for temperature, reference in fresh.items()
        )
        after = _level(fresh, self.reference_k)
        return Change(direction, before or 0.0, after or 0.0, requests), fresh


def _expected_positions(expected: Estimate, steps: float) -> tuple[Position, ...]:
    """What an estimate says `steps` steps would count."""
    result, reach = [], steps
    for alpha, coverage in zip(expected.acceptance, expected.coverage, strict=False):
        result.append(Position(reach, reach * coverage, reach * coverage * alpha))
        reach *= coverage * alpha
    return tuple(result)


def _level(references: dict[TemperatureBucket, Reference], k: int) -> float | None:
    return _mean((reference.requests, reference.alpha(k)) for reference in references.values())


def _mean(weighted: Iterable[tuple[float, float | None]]) -> float | None:
    total = weight = 0.0
    for part, value in weighted:
        if value is not None:
            total += part * value
            weight += part
    return total / weight if weight > 0 else None
