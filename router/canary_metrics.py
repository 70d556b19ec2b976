"""The canary's metrics, read when they are scraped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from router.canary_watch import CanaryWatch, Phase


class CanaryCollector(Collector):
    """The phase, the requests of both policies and their ratio of times, as this router knows them."""

    def __init__(self, watch: CanaryWatch) -> None:
        self._watch = watch

    def collect(self) -> Iterator[Metric]:
        """Every family; Prometheus' library calls it for each scrape."""
        state = self._watch.state
        phase = GaugeMetricFamily(
            "specroute_canary_phase", "1 for the phase the canary is in.", labels=("phase", "candidate")
        )
        candidate = state.trial.candidate.label if state.trial else ""
        for name in get_args(Phase):
            phase.add_metric([name, candidate if name == state.phase else ""], float(name == state.phase))
        yield phase
        stops = CounterMetricFamily("specroute_canary_stops", "Candidates this router found to be worse.")
        stops.add_metric([], self._watch.stops)
        yield stops
        comparison = state.comparison
        requests = GaugeMetricFamily(
            "specroute_canary_requests", "Requests compared, of all routers.", labels=("arm",)
        )
        if comparison is not None:
            requests.add_metric(["candidate"], comparison.candidate_requests)
            requests.add_metric(["main"], comparison.main_requests)
        yield requests
        ratio = GaugeMetricFamily(
            "specroute_canary_time_ratio",
            "Candidate's over main's total time per output token; each bound holds at any time.",
            labels=("value",),
        )
        if comparison is not None and comparison.total is not None:
            for name, value in comparison.total._asdict().items():
                ratio.add_metric([name], value)
        yield ratio
