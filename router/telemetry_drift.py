"""Drift events as a counter that is there before them: one that appears with an event has no increase."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from policies.drift import DriftEvent
from router.policy_source import PolicySource

_OF_TASKS = ("task_fell", "task_rose")
_OF_PROFILES = ("drafter_rot", "traffic_shift")


class DriftCounts(Collector):
    """Counts events; every task of the policy in force starts at 0 on every profile that drafts."""

    def __init__(self, policies: PolicySource, drafting: Iterable[str]) -> None:
        self._policies = policies
        self._drafting = tuple(drafting)
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def on_drift(self, event: DriftEvent) -> None:
        """Count one event."""
        self._counts[event.profile, event.kind, event.task or ""] += 1

    def collect(self) -> Iterator[Metric]:
        """The one family; Prometheus' library calls it for each scrape."""
        events = CounterMetricFamily(
            "specroute_drift_events",
            "Changes of acceptance that were noticed; task is empty where all tasks are meant.",
            labels=("profile", "kind", "task"),
        )
        for labels in {**dict.fromkeys(self._expected()), **self._counts}:
            events.add_metric(labels, self._counts[labels])
        yield events

    def _expected(self) -> Iterator[tuple[str, str, str]]:
        for profile in self._drafting:
            for kind in _OF_PROFILES:
                yield profile, kind, ""
            for kind in _OF_TASKS:
                for task in self._policies.tasks:
                    yield profile, kind, task
