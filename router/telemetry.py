"""Prometheus metrics, as hooks on what happens; what the router knows is collected in `telemetry_state`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from policies.drift import DriftEvent
from router.expectations import predicted_decode_s
from router.outcomes import Outcome
from router.telemetry_drift import DriftCounts
from router.telemetry_state import StateCollector, StateSources
from router.telemetry_tenants import TenantTotals

_LATENCIES_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SMALL_S = (5e-5, 1e-4, 2e-4, 3e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 5e-2)
_ARM = ("route", "profile", "task")
_DRAFTS = ("profile", "task")
_OK = 200
_REDIRECTION = 300

_Metric = TypeVar("_Metric", Counter, Histogram)


class _Labelled(Generic[_Metric]):
    """A metric whose children are looked up in a tenth of the time that the library takes."""

    __slots__ = ("_children", "_metric")

    def __init__(self, metric: _Metric) -> None:
        self._metric: _Metric = metric
        self._children: dict[tuple[str, ...], _Metric] = {}

    def labels(self, *values: str) -> _Metric:
        """The child under these values."""
        try:
            return self._children[values]
        except KeyError:
            child: _Metric = self._metric.labels(*values)
            self._children[values] = child
            return child


class Metrics:
    """The metrics of the contract, in a registry of their own.

    `drafting` names the profiles with a drafter: what can drift.
    """

    def __init__(self, state: StateSources, *, drafting: Iterable[str] = ()) -> None:
        self.registry = CollectorRegistry()
        self._make_request_metrics()
        self._make_latencies()
        self._make_gains()
        self._drift = DriftCounts(state.policies, drafting)
        self._tenants = TenantTotals(state.policies)
        self.registry.register(self._drift)
        self.registry.register(self._tenants)
        self.registry.register(StateCollector(state))

    def on_response(self, code: int) -> None:
        """Count one response of a completion endpoint when its status is known, whoever made it."""
        self._responses.labels(str(code)).inc()

    def on_outcome(self, outcome: Outcome) -> None:
        """Count one outcome."""
        decision = outcome.decision
        self._requests.labels(decision.route, decision.profile, outcome.task, decision.reason.value).inc()
        self._results.labels(outcome.result).inc()
        self._decision.observe(outcome.decision_s)
        if outcome.failovers:
            self._failovers.labels("before_first_token").inc(outcome.failovers - outcome.continued)
            self._failovers.labels("mid_stream").inc(outcome.continued)
        if outcome.result == "failed" and _OK <= outcome.status < _REDIRECTION:
            self._broken.inc()
        self._tenants.on_outcome(outcome)
        if outcome.result != "completed" or outcome.ending is None:
            return
        self._k.observe(decision.k)
        if outcome.ttft_s is not None:
            self._ttft.labels(decision.route).observe(outcome.ttft_s)
            if outcome.ending.ttft_s is not None:
                self._overhead.observe(max(0.0, outcome.ttft_s - outcome.ending.ttft_s))
        self._note_tokens(outcome)

    def on_drift(self, event: DriftEvent) -> None:
        """Count one drift event."""
        self._drift.on_drift(event)

    def exposition(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self.registry)

    def _note_tokens(self, outcome: Outcome) -> None:
        """Count the tokens of a complete answer, and the time that they took."""
        ending, decision = outcome.ending, outcome.decision
        assert ending is not None  # noqa: S101 - the caller has seen to it
        arm = decision.route, decision.profile, outcome.task
        self._prompt_tokens.labels(*arm).inc(ending.prompt_tokens)
        self._completion_tokens.labels(*arm).inc(ending.completion_tokens)
        if decision.k > 0 and ending.counted and not ending.continued_after:
            drafts = decision.profile, outcome.task
            self._steps.labels(*drafts).inc(len(ending.per_step_accepted))
            self._drafted.labels(*drafts).inc(sum(ending.per_step_drafted))
            self._accepted.labels(*drafts).inc(sum(ending.per_step_accepted))
        if ending.decode_s is None or ending.completion_tokens <= 1:
            return
        self._tpot.labels(decision.route).observe(ending.decode_s / (ending.completion_tokens - 1))
        self._decode.labels(*arm).inc(ending.decode_s)
        self._decoded.labels(*arm).inc(ending.completion_tokens - 1)
        if decision.k > 0:
            self._note_gain(outcome, ending.decode_s, ending.completion_tokens)

    def _note_gain(self, outcome: Outcome, decode_s: float, tokens: int) -> None:
        """Set what a speculative answer took beside what the best plain arm was predicted to take for it."""
        plain = [score for score in outcome.decision.scores if score.k == 0]
        if not plain:
            return
        best = min(plain, key=lambda score: score.cost_s)
        vanilla_s = predicted_decode_s(best, outcome.work, tokens)
        if vanilla_s is not None:
            drafts = outcome.decision.profile, outcome.task
            self._speculative_s.labels(*drafts).inc(decode_s)
            self._instead_s.labels(*drafts).inc(vanilla_s)

    def _make_request_metrics(self) -> None:
        self._requests = self._counter(
            "specroute_requests", "Requests by how they were routed.", (*_ARM, "reason")
        )
        self._responses = self._counter(
            "specroute_http_responses",
            "Responses of the completion endpoints by HTTP status, refusals at the door included.",
            ("code",),
        )
        self._results = self._counter(
            "specroute_results",
            "Requests by how they ended: answered to the end, answered with the request's own error, "
            "given up by the client, given up by us.",
            ("result",),
        )
        self._broken = Counter(
            "specroute_broken_streams",
            "Streams that began with status 200 and ended with an error event.",
            registry=self.registry,
        )
        self._failovers = self._counter(
            "specroute_failovers", "Requests moved to another replica.", ("stage",)
        )
        # A series that appears with its first event has no increase yet.
        self._responses.labels("200")
        self._responses.labels("503")
        for result in ("completed", "refused", "cancelled", "failed"):
            self._results.labels(result)
        for stage in ("before_first_token", "mid_stream"):
            self._failovers.labels(stage)

    def _make_latencies(self) -> None:
        self._k = self._histogram(
            "specroute_k",
            "Draft tokens per step that requests were given.",
            (0, 1, 2, 3, 4, 5, 6, 8, 12, 16),
        )
        self._decision = self._histogram(
            "specroute_decision_seconds", "Time to classify and decide.", _SMALL_S
        )
        self._overhead = self._histogram(
            "specroute_overhead_seconds",
            "Time to first token at the router less that at the engine: routing, transport and waiting.",
            _LATENCIES_S,
        )
        self._ttft = self._by_route(
            "specroute_ttft_seconds", "Time to first token, at the router.", _LATENCIES_S
        )
        self._tpot = self._by_route(
            "specroute_tpot_seconds",
            "Time per output token after the first, at the engine.",
            (*_SMALL_S, 0.1, 0.2, 0.5, 1.0),
        )

    def _make_gains(self) -> None:
        self._prompt_tokens = self._counter(
            "specroute_prompt_tokens", "Prompt tokens of complete answers.", _ARM
        )
        self._completion_tokens = self._counter(
            "specroute_completion_tokens", "Tokens of complete answers.", _ARM
        )
        self._decode = self._counter(
            "specroute_decode_seconds", "Time from first to last token of complete answers.", _ARM
        )
        self._decoded = self._counter(
            "specroute_decoded_tokens",
            "Tokens after the first, of the answers in specroute_decode_seconds_total.",
            _ARM,
        )
        self._steps = self._counter(
            "specroute_steps", "Target passes of speculative requests after their first token.", _DRAFTS
        )
        self._drafted = self._counter("specroute_drafted_tokens", "Tokens that drafters proposed.", _DRAFTS)
        self._accepted = self._counter(
            "specroute_accepted_tokens",
            "Proposed tokens that the target kept; its own token per pass apart.",
            _DRAFTS,
        )
        self._speculative_s = self._counter(
            "specroute_speculative_decode_seconds",
            "Time from first to last token of speculative answers that were compared with a plain arm.",
            _DRAFTS,
        )
        self._instead_s = self._counter(
            "specroute_speculative_instead_seconds",
            "What the best plain arm was predicted to take for the answers in "
            "specroute_speculative_decode_seconds_total: an estimate, the proof is in the savings report.",
            _DRAFTS,
        )

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> _Labelled[Counter]:
        return _Labelled(Counter(name, text, labels, registry=self.registry))

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, text, buckets=buckets, registry=self.registry)

    def _by_route(self, name: str, text: str, buckets: tuple[float, ...]) -> _Labelled[Histogram]:
        return _Labelled(Histogram(name, text, ("route",), buckets=buckets, registry=self.registry))
