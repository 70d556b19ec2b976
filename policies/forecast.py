"""How much of each route is wanted, for whoever sizes the pools.

Demand is requests per second, work the engine seconds they bring per second: by Little's law the requests an
endless pool would have in decoding at once (J. Little, "A Proof for the Queuing Formula L = lambda W", 1961).
Both are averages over a short and over a long time, and the forecast is the greater of the two: it rises with
the first minute of a rush and falls with the last.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, TypeVar

from policies.cells import decay_factor
from policies.decide.context import Route

SHORT_S: Final = 30.0
LONG_S: Final = 300.0
"""Half-lives of the two averages."""


Key = TypeVar("Key", bound=Hashable)


class RouteForecast(NamedTuple):
    """What a route, or a pool, is expected to be asked for."""

    requests_per_s: float
    work: float


@dataclass(slots=True)
class _Rate:
    """Events per second, weighing less by half after each half-life."""

    half_life_s: float
    started_s: float
    at_s: float
    requests: float = 0.0
    seconds: float = 0.0

    def age(self, now_s: float) -> None:
        factor = decay_factor(now_s - self.at_s, self.half_life_s)
        self.requests *= factor
        self.seconds *= factor
        self.at_s = max(self.at_s, now_s)

    def forecast(self, now_s: float) -> RouteForecast:
        self.age(now_s)
        # A counter that just began has not seen a whole half-life: what it lacks is known.
        seen = 1.0 - decay_factor(max(1.0, self.at_s - self.started_s), self.half_life_s)
        per_s = math.log(2.0) / self.half_life_s / seen
        return RouteForecast(self.requests * per_s, self.seconds * per_s)


class Rates(Generic[Key]):
    """Counts decisions by a key. Of averages over several half-lives the greatest is the forecast."""

    def __init__(self, *half_lives_s: float) -> None:
        self._half_lives_s = half_lives_s
        self._rates: dict[Key, tuple[_Rate, ...]] = {}

    def decided(self, key: Key, engine_s: float, now_s: float) -> None:
        """Count a request that should keep an engine busy for `engine_s`."""
        rates = self._rates.get(key)
        if rates is None:
            rates = self._rates[key] = tuple(
                _Rate(half_life_s, now_s, now_s) for half_life_s in self._half_lives_s
            )
        for rate in rates:
            rate.age(now_s)
            rate.requests += 1.0
            rate.seconds += engine_s

    def forecast(self, now_s: float) -> dict[Key, RouteForecast]:
        """For every key that was ever taken."""
        return {
            key: RouteForecast(*map(max, zip(*(rate.forecast(now_s) for rate in rates), strict=True)))
            for key, rates in self._rates.items()
        }


class Forecaster(Rates[Route]):
    """Counts decisions by route."""

    def __init__(self) -> None:
        super().__init__(SHORT_S, LONG_S)
