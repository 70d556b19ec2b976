"""Prometheus metrics, as hooks on what happens; what the router knows is collected in `telemetry_state`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from policies.drift import DriftEvent
from router.outcomes import Outcome
from router.telemetry_state import StateCollector, StateSources

_LATENCIES_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SMALL_S = (5e-5, 1e-4, 2e-4, 3e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 5e-2)


class Metrics:
    """The metrics of the contract, in a registry of their own."""

    def __init__(self, state: StateSources) -> None:
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
            "specroute_failovers", "Requests moved to another replica.", ("stage",), registry=self.registry
        )
        self._drift = Counter(
            "specroute_drift_events",
            "Changes of acceptance that were noticed; task is empty where all tasks are meant.",
            ("profile", "kind", "task"),
            registry=self.registry,
        )
        self.registry.register(StateCollector(state))

    def on_outcome(self, outcome: Outcome) -> None:
        """Count one outcome."""
        decision = outcome.decision
        self._requests.labels(decision.route, decision.profile, outcome.task, decision.reason.value).inc()
        self._decision.observe(outcome.decision_s)
        if outcome.failovers:
            self._failovers.labels("before_first_token").inc(outcome.failovers - outcome.continued)
            self._failovers.labels("mid_stream").inc(outcome.continued)
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

    def on_drift(self, event: DriftEvent) -> None:
        """Count one drift event."""
        self._drift.labels(event.profile, event.kind, event.task or "").inc()

    def exposition(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self.registry)
