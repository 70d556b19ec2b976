"""How much of each route is wanted, for whoever sizes the pools.

Demand is requests per second, work the engine seconds they bring per second: by Little's law the requests an
endless pool would have in decoding at once (J. Little, "A Proof for the Queuing Formula L = lambda W", 1961).
Both are averages over a short and over a long time, and the forecast is the greater of the two: it rises with
the first minute of a rush and falls with the last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from policies.cells import decay_factor
from policies.decide.context import Route

SHORT_S: Final = 30.0
LONG_S: Final = 300.0
"""Half-lives of the two averages."""


class RouteForecast(NamedTuple):
    """What a route is expected to be asked for."""

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


@dataclass(slots=True)
class Forecaster:
    """Counts decisions by route."""

    _rates: dict[Route, tuple[_Rate, _Rate]] = field(default_factory=dict)

    def decided(self, route: Route, engine_s: float, now_s: float) -> None:
        """Count a request that should keep an engine busy for `engine_s`."""
        for rate in self._rates.setdefault(
            route, (_Rate(SHORT_S, now_s, now_s), _Rate(LONG_S, now_s, now_s))
        ):
            rate.age(now_s)
            rate.requests += 1.0
            rate.seconds += engine_s

    def forecast(self, now_s: float) -> dict[Route, RouteForecast]:
        """For every route that was ever taken."""
        return {
            route: RouteForecast(*map(max, short.forecast(now_s), long.forecast(now_s)))
            for route, (short, long) in self._rates.items()
        }
