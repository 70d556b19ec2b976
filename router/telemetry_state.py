"""Metrics read from the router's state when they are scraped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from policies.acceptance import draft_acceptance_rate, measured_length, pooled
from policies.cost import PredictionError
from policies.forecast import Forecaster
from router.policy_source import PolicySource
from router.replaying import ReplayTotals
from router.requests import ANONYMOUS
from router.snapshot import Snapshot


class StateSources(NamedTuple):
    """Where the figures come from."""

    snapshot: Snapshot
    policies: PolicySource
    predictions: PredictionError
    forecaster: Forecaster
    replays: ReplayTotals
    clock: Callable[[], float]


class StateCollector(Collector):
    """Gauges read from the router's state when they are scraped."""

    def __init__(self, sources: StateSources) -> None:
        self._snapshot, self._policies, self._predictions, self._forecaster, self._replays, self._clock = (
            sources
        )

    def collect(self) -> Iterator[Metric]:
        """Every family; Prometheus' library calls it for each scrape."""
        store = GaugeMetricFamily("specroute_store_up", "1 while the statistics store answers.")
        store.add_metric([], 1.0 if self._snapshot.store_up else 0.0)
        yield store
        policy = GaugeMetricFamily(
            "specroute_policy_info", "The policy in force.", labels=("name", "revision", "rejected_newer")
        )
        state = self._policies.state
        policy.add_metric([state.name, state.revision, "true" if state.rejected else "false"], 1.0)
        yield policy
        rate = GaugeMetricFamily(
            "specroute_acceptance_rate",
            "Accepted over proposed draft tokens, recent ones weighing more.",
            labels=("profile", "task"),
        )
        length = GaugeMetricFamily(
            "specroute_acceptance_length",
            "Tokens per step of speculative requests.",
            labels=("profile", "task"),
        )
        for (profile, task), counts in self._by_task().items():
            if (value := draft_acceptance_rate(counts)) is not None:
                rate.add_metric([profile, task], value)
            if (tokens := measured_length(counts)) is not None:
                length.add_metric([profile, task], tokens)
        yield rate
        yield length
        ratio = GaugeMetricFamily(
            "specroute_predicted_over_measured",
            "Predicted over measured decode time of recent requests, geometric mean.",
            labels=("profile",),
        )
        for profile, accuracy in self._predictions.items(self._clock()):
            ratio.add_metric([profile], accuracy.ratio)
        yield ratio
        yield from self._forecasts()
        yield self._replayed()
        yield _under_way()

    def _forecasts(self) -> Iterator[Metric]:
        demand = GaugeMetricFamily(
            "specroute_forecast_requests_per_second", "Requests expected by route.", labels=("route",)
        )
        work = GaugeMetricFamily(
            "specroute_forecast_work",
            "Engine seconds per second expected by route: requests decoding at once, were there no limit.",
            labels=("route",),
        )
        for route, expected in self._forecaster.forecast(self._clock()).items():
            demand.add_metric([route], expected.requests_per_s)
            work.add_metric([route], expected.work)
        yield demand
        yield work

    def _replayed(self) -> Metric:
        replays = CounterMetricFamily(
            "specroute_replays",
            "Finished answers that copying drafters were replayed over.",
            labels=("result",),
        )
        for result, count in asdict(self._replays).items():
            replays.add_metric([result], count)
        return replays

    def _by_task(self) -> dict[tuple[str, str], dict[str, float]]:
        """Counters of every task over all temperatures and tenants, decayed to now."""
        now_s = self._clock()
        groups: dict[tuple[str, str], list[Mapping[str, float]]] = {}
        for key, record in self._snapshot.items():
            if key.tenant is None and not key.is_of_replays:
                half_life_s = self._policies.resolve(tenant=ANONYMOUS, task=key.task).acceptance.half_life
                groups.setdefault((key.profile, key.task), []).append(record.decayed_to(now_s, half_life_s))
        return {name: pooled(counts) for name, counts in groups.items()}


def _under_way() -> Metric:
    """What the event loop has to do: requests, connections and the background; a leak shows here first."""
    tasks = GaugeMetricFamily("specroute_event_loop_tasks", "Tasks in the router's event loop.")
    try:
        tasks.add_metric([], len(asyncio.all_tasks()))
    except RuntimeError:  # scraped from outside the loop
        return tasks
    return tasks
