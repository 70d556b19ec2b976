"""Metrics by tenant, for the tenants that the policy names: the others could be any number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Final

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from policies.decide import Route
from router.outcomes import Outcome
from router.policy_source import PolicySource


@dataclass(slots=True)
class _Sums:
    """Of one tenant on one route."""

    requests: float = 0.0
    decode_seconds: float = 0.0
    decoded_tokens: float = 0.0
    drafted_tokens: float = 0.0
    accepted_tokens: float = 0.0


_TEXTS: Final = {
    "requests": "Requests of a tenant the policy names.",
    "decode_seconds": "Time from first to last token of its complete answers.",
    "decoded_tokens": "Tokens after the first, of the answers in specroute_tenant_decode_seconds_total.",
    "drafted_tokens": "Tokens that drafters proposed for it.",
    "accepted_tokens": "Proposed tokens that the target kept.",
}
"""In the order of the fields of `_Sums`."""


class TenantTotals(Collector):
    """Adds up requests, tokens and times of named tenants; one the policy names no longer is forgotten."""

    def __init__(self, policies: PolicySource) -> None:
        self._policies = policies
        self._sums: dict[tuple[str, Route], _Sums] = {}

    def on_outcome(self, outcome: Outcome) -> None:
        """Add one request, if its tenant is named."""
        tenant, decision, ending = outcome.request.tenant, outcome.decision, outcome.ending
        if tenant not in self._policies.policy.spec.tenants:
            return
        sums = self._sums.setdefault((tenant, decision.route), _Sums())
        sums.requests += 1
        if outcome.result != "completed" or ending is None:
            return
        if ending.decode_s is not None and ending.completion_tokens > 1:
            sums.decode_seconds += ending.decode_s
            sums.decoded_tokens += ending.completion_tokens - 1
        if decision.k > 0 and ending.counted and not ending.continued_after:
            sums.drafted_tokens += sum(ending.per_step_drafted)
            sums.accepted_tokens += sum(ending.per_step_accepted)

    def collect(self) -> Iterator[Metric]:
        """Every family; Prometheus' library calls it for each scrape."""
        named = self._policies.policy.spec.tenants
        self._sums = {key: sums for key, sums in self._sums.items() if key[0] in named}
        for field in fields(_Sums):
            family = CounterMetricFamily(
                f"specroute_tenant_{field.name}", _TEXTS[field.name], labels=("tenant", "route")
            )
            for (tenant, route), sums in self._sums.items():
                family.add_metric([tenant, route], getattr(sums, field.name))
            yield family
