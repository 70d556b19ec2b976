"""Prometheus metrics, as a hook on outcomes and a collector over what the router knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from policies.acceptance import draft_acceptance_rate, measured_length, pooled
from router.outcomes import Outcome
from router.policy_source import PolicySource
from router.requests import ANONYMOUS
from router.stats import Snapshot

_LATENCIES_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SMALL_S = (5e-5, 1e-4, 2e-4, 3e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 5e-2)


class Metrics:
    """The metrics of the contract, in a registry of their own."""

    def __init__(self, snapshot: Snapshot, policies: PolicySource, clock: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "specroute_requests",
            "Requests by how they were routed.",
            ("route", "profile", "task", "reason"),
            registry=self.registry,
        )
        self._k = Histogram(
            "specroute_k",
            "Draft tokens per step that requests were given.",
            buckets=(0, 1, 2, 3, 4, 5, 6, 8, 12, 16),
            registry=self.registry,
        )
        self._decision = Histogram(
            "specroute_decision_seconds",
            "Time to classify and decide.",
            buckets=_SMALL_S,
            registry=self.registry,
        )
        self._overhead = Histogram(
            "specroute_overhead_seconds",
            "Time to first token at the router less that at the engine: routing, transport and waiting.",
            buckets=_LATENCIES_S,
            registry=self.registry,
        )
        self._ttft = Histogram(
            "specroute_ttft_seconds",
            "Time to first token, at the router.",
            ("route",),
            buckets=_LATENCIES_S,
            registry=self.registry,
        )
        self._tpot = Histogram(
            "specroute_tpot_seconds",
            "Time per output token after the first, at the engine.",
            ("route",),
            buckets=(*_SMALL_S, 0.1, 0.2, 0.5, 1.0),
            registry=self.registry,
        )
        self._failovers = Counter(
            "specroute_failovers", "Requests moved to another pool.", ("stage",), registry=self.registry
        )
        self.registry.register(_StateCollector(snapshot, policies, clock))

    def on_outcome(self, outcome: Outcome) -> None:
        """Count one outcome."""
        decision = outcome.decision
        self._requests.labels(decision.route, decision.profile, outcome.task, decision.reason.value).inc()
        self._decision.observe(outcome.decision_s)
        if outcome.failovers:
            self._failovers.labels("before_first_token").inc(outcome.failovers)
        ending = outcome.ending
        if outcome.result != "completed" or ending is None:
            return
        self._k.observe(decision.k)
        if outcome.ttft_s is not None:
            self._ttft.labels(decision.route).observe(outcome.ttft_s)
            if ending.ttft_s is not None:
                self._overhead.observe(max(0.0, outcome.ttft_s - ending.ttft_s))
        if ending.decode_s is not None and ending.completion_tokens > 1:
            self._tpot.labels(decision.route).observe(ending.decode_s / (ending.completion_tokens - 1))

    def exposition(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self.registry)


class _StateCollector(Collector):
    """Gauges read from the router's state when they are scraped."""

    def __init__(self, snapshot: Snapshot, policies: PolicySource, clock: Callable[[], float]) -> None:
        self._snapshot = snapshot
        self._policies = policies
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
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

    def _by_task(self) -> dict[tuple[str, str], dict[str, float]]:
        """Counters of every task over all temperatures and tenants, decayed to now."""
        now_s = self._clock()
        groups: dict[tuple[str, str], list[Mapping[str, float]]] = {}
        for key, record in self._snapshot.items():
            if key.tenant is None:
                half_life_s = self._policies.resolve(tenant=ANONYMOUS, task=key.task).acceptance.half_life
                groups.setdefault((key.profile, key.task), []).append(record.decayed_to(now_s, half_life_s))
        return {name: pooled(counts) for name, counts in groups.items()}
