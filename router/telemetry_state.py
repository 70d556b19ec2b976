"""Metrics read from the router's state when they are scraped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import NamedTuple, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from policies.acceptance import draft_acceptance_rate, measured_length
from policies.cost import PredictionError
from policies.forecast import Forecaster
from router.policy_source import PolicySource, Rejected
from router.replaying import ReplayTotals
from router.snapshot import Snapshot
from router.telemetry_alpha import evidence_by_task


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
        yield self._contact()
        policy = GaugeMetricFamily(
            "specroute_policy_info", "The policy in force.", labels=("name", "revision", "rejected_newer")
        )
        state = self._policies.state
        policy.add_metric([state.name, state.revision, "true" if state.rejected else "false"], 1.0)
        yield policy
        rejected = GaugeMetricFamily(
            "specroute_policy_rejected",
            "1 while something newer than the policy in force cannot be used: a file, or the store's text.",
            labels=("source",),
        )
        for source in get_args(Rejected):
            rejected.add_metric([source], float(self._policies.rejects(source)))
        yield rejected
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
        found = evidence_by_task(self._snapshot, self._policies, self._clock())
        for (profile, task), evidence in found.items():
            if (value := draft_acceptance_rate(evidence.counted)) is not None:
                rate.add_metric([profile, task], value)
            if (tokens := measured_length(evidence.counted)) is not None:
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

    def _contact(self) -> Metric:
        contact = GaugeMetricFamily(
            "specroute_store_last_contact_timestamp_seconds",
            "When the statistics store last answered, in unix time; absent while it never did.",
        )
        now_s = self._clock()
        if (age_s := self._snapshot.age_s(now_s)) is not None:
            contact.add_metric([], now_s - age_s)
        return contact


def _under_way() -> Metric:
    """What the event loop has to do: requests, connections and the background; a leak shows here first."""
    tasks = GaugeMetricFamily("specroute_event_loop_tasks", "Tasks in the router's event loop.")
    try:
        tasks.add_metric([], len(asyncio.all_tasks()))
    except RuntimeError:  # scraped from outside the loop
        return tasks
    return tasks
