"""Recording rules: one name for every figure, whether Prometheus scrapes `/metrics` or Ray's endpoint.

Names are `specroute:<what>:<how>`. Every rule keeps the label `namespace`, so that one Prometheus may watch
several deployments, one in each. Where both ways are scraped, plain names win and nothing counts twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

PREFIXES: Final = ("specroute_", "ray_specroute_")
ENGINE_PREFIXES: Final = ("vllm:", "ray_vllm_")
_SERIES: Final = re.compile(r"(rate\(ray_vllm_\w+\[5m\]\)|ray_vllm_\w+)")
ERROR_WINDOWS: Final = ("5m", "30m", "1h", "6h", "3d")


class Recorded(NamedTuple):
    """One recording rule. In `expression` an @ stands before a metric's name in the place of its prefix."""

    name: str
    expression: str
    prefixes: tuple[str, str] = PREFIXES

    @property
    def promql(self) -> str:
        """The expression for plain names, or else for those that Ray gives."""
        plain, of_ray = (self.expression.replace("@", prefix) for prefix in self.prefixes)
        if self.prefixes is ENGINE_PREFIXES:
            # What /metrics calls `replica`, vLLM calls `ReplicaId` where it tells Ray.
            of_ray = _SERIES.sub(r'label_replace(\1, "replica", "$1", "ReplicaId", "(.+)")', of_ray)
        return f"{plain}\nor\n{of_ray}"


def recorded() -> Iterator[Recorded]:
    """Every rule."""
    yield from _rates()
    yield from _ratios()
    yield from _errors()
    yield from _latencies()
    yield from _states()
    yield from _engines()


def _rates() -> Iterator[Recorded]:
    for what, window, labels in (
        ("requests", "5m", "route, profile, task, reason"),
        ("http_responses", "5m", "code"),
        ("results", "5m", "result"),
        ("prompt_tokens", "5m", "route, profile, task"),
        ("completion_tokens", "5m", "route, profile, task"),
        ("refused", "5m", "cause"),
        ("decision_log_lines", "5m", "result"),
        ("tenant_requests", "5m", "tenant, route"),
        ("speculative_decode_seconds", "1h", "profile, task"),
    ):
        yield Recorded(
            f"specroute:{what}:rate{window}",
            f"sum by (namespace, {labels}) (rate(@{what}_total[{window}]))",
        )
    for what, window, labels in (
        ("drift_events", "30m", "namespace, profile, kind, task"),
        ("failovers", "15m", "namespace, stage"),
        ("canary_stops", "15m", "namespace"),
    ):
        yield Recorded(
            f"specroute:{what}:increase{window}", f"sum by ({labels}) (increase(@{what}_total[{window}]))"
        )


def _ratios() -> Iterator[Recorded]:
    drafts = "sum by (namespace, profile, task) (rate(@{}_total[{}]))"
    for window in ("5m", "1h"):
        took, instead = (
            drafts.format(f"speculative_{what}_seconds", window) for what in ("decode", "instead")
        )
        yield Recorded(f"specroute:speedup:ratio{window}", f"{instead} / {took}")
        yield Recorded(f"specroute:saved_seconds:rate{window}", f"{instead} - {took}")
    accepted = drafts.format("accepted_tokens", "5m")
    yield Recorded(
        "specroute:acceptance_rate:ratio5m", f"{accepted} / {drafts.format('drafted_tokens', '5m')}"
    )
    yield Recorded("specroute:acceptance_length:ratio5m", f"1 + {accepted} / {drafts.format('steps', '5m')}")
    for what, labels, over, under in (
        ("tpot_seconds", "route, task", "decode_seconds", "decoded_tokens"),
        ("tenant_tpot_seconds", "tenant, route", "tenant_decode_seconds", "tenant_decoded_tokens"),
        ("tenant_acceptance_rate", "tenant", "tenant_accepted_tokens", "tenant_drafted_tokens"),
    ):
        rate = f"sum by (namespace, {labels}) (rate(@{{}}_total[5m]))"
        yield Recorded(f"specroute:{what}:ratio5m", f"{rate.format(over)} / {rate.format(under)}")


def _errors() -> Iterator[Recorded]:
    """Responses with a status of 5xx, and streams that broke off after their 200, over all responses."""
    for window in ERROR_WINDOWS:
        yield Recorded(
            f"specroute:errors:ratio{window}",
            f'(sum by (namespace) (rate(@http_responses_total{{code=~"5.."}}[{window}]))'
            f" + sum by (namespace) (rate(@broken_streams_total[{window}])))"
            f" / sum by (namespace) (rate(@http_responses_total[{window}]))",
        )


def _latencies() -> Iterator[Recorded]:
    for what, labels in (
        ("k", ""),
        ("decision_seconds", ""),
        ("overhead_seconds", ""),
        ("ttft_seconds", "route, "),
        ("tpot_seconds", "route, "),
    ):
        yield Recorded(
            f"specroute:{what}_bucket:rate5m", f"sum by (namespace, {labels}le) (rate(@{what}_bucket[5m]))"
        )


def _states() -> Iterator[Recorded]:
    """Gauges of several routers as one: what each has of its own added up, of the rest the worst."""
    for what, how, labels in (
        ("alpha", "max", "profile, task"),
        ("alpha_lower", "min", "profile, task"),
        ("alpha_upper", "max", "profile, task"),
        ("predicted_over_measured", "max", "profile"),
        ("predicted_over_measured", "min", "profile"),
        ("policy_rejected", "max", "source"),
        ("policy_info", "max", "name, revision"),
        ("canary_phase", "max", "phase, candidate"),
        ("pool_up", "min", "profile"),
        ("pool_in_flight", "sum", "profile"),
        ("pool_slots", "max", "profile"),
        ("pool_ejected", "max", "profile"),
    ):
        yield Recorded(f"specroute:{what}:{how}", f"{how} by (namespace, {labels}) (@{what})")
    for what, how in (
        ("store_up", "min"),
        ("ready", "min"),
        ("admission_slots", "sum"),
        ("admission_running", "sum"),
        ("admission_waiting", "sum"),
    ):
        yield Recorded(f"specroute:{what}:{how}", f"{how} by (namespace) (@{what})")
    yield Recorded("specroute:routers:count", "count by (namespace) (@store_up)")


def _engines() -> Iterator[Recorded]:
    """What vLLM tells of its engines."""

    def rate(what: str) -> str:
        return f"sum by (namespace, replica) (rate(@{what}_total[5m]))"

    for name, expression in (
        ("running:sum", "sum by (namespace, replica) (@num_requests_running)"),
        ("waiting:sum", "sum by (namespace, replica) (@num_requests_waiting)"),
        ("kv_cache_usage:max", "max by (namespace, replica) (@kv_cache_usage_perc)"),
        ("preemptions:rate5m", rate("num_preemptions")),
        ("generated_tokens:rate5m", rate("generation_tokens")),
        ("prefix_cache_hits:ratio5m", f"{rate('prefix_cache_hits')} / {rate('prefix_cache_queries')}"),
        (
            "acceptance_rate:ratio5m",
            f"{rate('spec_decode_num_accepted_tokens')} / {rate('spec_decode_num_draft_tokens')}",
        ),
    ):
        yield Recorded(f"specroute:engine_{name}", expression, ENGINE_PREFIXES)
