"""Sides that decide nothing per request: one arm for all, on the least loaded engine."""

from __future__ import annotations

from collections.abc import Sequence

from bench.simulate.engine import Engine, Job
from bench.simulate.fleet import Placement
from bench.simulate.workload import Request
from policies.cost import StepLoad


class Static:
    """Every request with the same k; with an engine's table `k` is the most it may use."""

    def __init__(self, engines: Sequence[Engine], k: int) -> None:
        self._engines = engines
        self._k = k

    def place(self, request: Request, now_s: float) -> Placement:  # noqa: ARG002 - all alike
        """The least loaded engine."""
        return Placement(least_loaded(self._engines).number, self._k)

    def finished(self, job: Job, now_s: float) -> None:
        """Learns nothing."""

    def passed(self, engine: int, load: StepLoad, seconds: float) -> None:
        """Learns nothing."""


def least_loaded(engines: Sequence[Engine]) -> Engine:
    """The engine with the fewest requests, the first of several."""
    return min(engines, key=lambda engine: engine.in_flight)
