"""The pools as metrics: who answers, and how busy they are."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from router.learning import Learning
from router.pools import Pools


class PoolCollector(Collector):
    """Availability and load of every pool, as this router sees them, and what it could not believe."""

    def __init__(self, pools: Pools, learning: Learning) -> None:
        self._pools = pools
        self._learning = learning
        self._version = version("specroute")

    def collect(self) -> Iterator[Metric]:
        """Every family; Prometheus' library calls it for each scrape."""
        ready = GaugeMetricFamily("specroute_ready", "1 while at least one pool can answer.")
        ready.add_metric([], float(self._pools.ready))
        yield ready
        up = _gauge("up", "1 while the pool answers.")
        replicas = _gauge("replicas", "Engines the pool has.")
        ejected = _gauge("ejected", "Engines that are left alone after failures; 1 more where all are.")
        slots = _gauge("slots", "Requests the pool's engines can decode at once.")
        flying = _gauge("in_flight", "Requests this router has in the pool.")
        demand = _gauge(
            "demand",
            "Requests that a pool with autoscaling should be able to decode at once for this router.",
        )
        for state in self._pools:
            name = [state.profile.name]
            up.add_metric(name, float(state.available))
            replicas.add_metric(name, state.engines)
            ejected.add_metric(name, len(self._pools.ejected(state.profile.name)))
            slots.add_metric(name, state.capacity)
            if state.demand is not None:
                demand.add_metric(name, state.demand)
            flying.add_metric(name, state.in_flight)
        yield from (up, replicas, ejected, slots, flying, demand)
        refused = CounterMetricFamily(
            "specroute_refused_step_counts", "Answers whose step counts could not be true: no evidence."
        )
        refused.add_metric([], self._learning.rejected)
        yield refused
        build = GaugeMetricFamily("specroute_build_info", "The version that runs.", labels=("version",))
        build.add_metric([self._version], 1.0)
        yield build


def _gauge(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"specroute_pool_{name}", text, labels=("profile",))
