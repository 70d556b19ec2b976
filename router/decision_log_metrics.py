"""The decision log's metric, read when it is scraped."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from router.decision_log import DecisionLog


class DecisionLogCollector(Collector):
    """What became of the sampled outcomes: anything but `written` is missing from the log."""

    def __init__(self, log: DecisionLog) -> None:
        self._log = log

    def collect(self) -> Iterator[Metric]:
        """The one family; Prometheus' library calls it for each scrape."""
        lines = CounterMetricFamily(
            "specroute_decision_log_lines",
            "Decisions to be logged, by what became of them.",
            labels=("result",),
        )
        for result, count in self._log.counts().items():
            lines.add_metric([result], count)
        yield lines
