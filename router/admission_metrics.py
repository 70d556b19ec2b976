"""The admission's metrics, read when they are scraped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from policies.admission import Cause
from router.admission import Admission


class AdmissionCollector(Collector):
    """Slots, who waits for them, and who was turned away, of this router."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    def collect(self) -> Iterator[Metric]:
        """Every family; Prometheus' library calls it for each scrape."""
        for name, text, value in (
            ("slots", "Requests of this router the engines can decode at once.", self._admission.capacity),
            ("running", "Requests let in.", self._admission.running),
            ("waiting", "Requests that wait for a slot.", self._admission.waiting),
        ):
            gauge = GaugeMetricFamily(f"specroute_admission_{name}", text)
            gauge.add_metric([], value)
            yield gauge
        refused = CounterMetricFamily(
            "specroute_refused", "Requests that were not let in, or waited in vain.", labels=("cause",)
        )
        for cause in get_args(Cause):
            refused.add_metric([cause], self._admission.refused[cause])
        yield refused
