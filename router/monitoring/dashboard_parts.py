"""The rows of the dashboard about the service's parts: policy, store, engines, load, tenants."""

from __future__ import annotations

from typing import Final

from router.monitoring.panels import Panel, Query, lines, row, stat

IN: Final = '{namespace=~"$namespace"}'


def part_panels() -> list[Panel]:
    """All of them, row by row."""
    return [*_parts(), *_load(), *_engines(), *_tenants()]


def _parts() -> list[Panel]:
    return [
        row("Policy, store and engines"),
        stat("Routers", f"specroute:routers:count{IN}", "short"),
        stat("Store answers", f"specroute:store_up:min{IN}", "short", good_from=1.0),
        stat("Policy rejected", f"max(specroute:policy_rejected:max{IN})", "short", bad_from=1.0),
        stat("Ready", f"specroute:ready:min{IN}", "short", good_from=1.0),
        lines("Policy in force", f"specroute:policy_info:max{IN} == 1", "{{name}}@{{revision}}", "short"),
        lines("Pools that answer", f"specroute:pool_up:min{IN}", "{{profile}}", "short"),
        lines(
            "Failovers of a quarter of an hour", f"specroute:failovers:increase15m{IN}", "{{stage}}", "short"
        ),
        lines("Engines left alone", f"specroute:pool_ejected:max{IN}", "{{profile}}", "short"),
        lines(
            "Lost lines of the decision log",
            'specroute:decision_log_lines:rate5m{namespace=~"$namespace", result=~"dropped|failed"}',
            "{{result}}",
            "short",
        ),
    ]


def _load() -> list[Panel]:
    return [
        row("Load and errors"),
        lines(
            "Slots",
            f"specroute:admission_slots:sum{IN}",
            "slots",
            "short",
            more=[
                Query(f"specroute:admission_running:sum{IN}", "running"),
                Query(f"specroute:admission_waiting:sum{IN}", "waiting"),
            ],
        ),
        lines(
            "In flight by pool",
            f"specroute:pool_in_flight:sum{IN}",
            "{{profile}}",
            "short",
            more=[Query(f"specroute:pool_slots:max{IN}", "{{profile}}, slots")],
        ),
        lines("Turned away", f"specroute:refused:rate5m{IN}", "{{cause}}", "reqps", stacked=True),
        lines(
            "Responses by status", f"specroute:http_responses:rate5m{IN}", "{{code}}", "reqps", stacked=True
        ),
        lines("How requests end", f"specroute:results:rate5m{IN}", "{{result}}", "reqps", stacked=True),
        lines(
            "Share that failed",
            f"specroute:errors:ratio5m{IN}",
            "5 minutes",
            "percentunit",
            more=[Query(f"specroute:errors:ratio1h{IN}", "1 hour")],
        ),
    ]


def _engines() -> list[Panel]:
    def panel(title: str, figure: str, unit: str) -> Panel:
        return lines(title, f"specroute:engine_{figure}{IN}", "{{replica}}", unit)

    return [
        row("Engines, as vLLM tells"),
        panel("Running", "running:sum", "short"),
        panel("Waiting", "waiting:sum", "short"),
        panel("KV cache in use", "kv_cache_usage:max", "percentunit"),
        panel("Preemptions", "preemptions:rate5m", "reqps"),
        panel("Tokens generated, per second", "generated_tokens:rate5m", "short"),
        panel("Prompt tokens found in the prefix cache", "prefix_cache_hits:ratio5m", "percentunit"),
        panel("Draft acceptance rate", "acceptance_rate:ratio5m", "percentunit"),
    ]


def _tenants() -> list[Panel]:
    of_tenant = '{namespace=~"$namespace", tenant=~"$tenant"}'
    return [
        row("Tenants the policy names"),
        lines(
            "Requests",
            f"sum by (tenant) (specroute:tenant_requests:rate5m{of_tenant})",
            "{{tenant}}",
            "reqps",
            stacked=True,
        ),
        lines(
            "Draft acceptance rate",
            f"specroute:tenant_acceptance_rate:ratio5m{of_tenant}",
            "{{tenant}}",
            "percentunit",
        ),
        lines(
            "Mean time per output token",
            f"specroute:tenant_tpot_seconds:ratio5m{of_tenant}",
            "{{tenant}}, {{route}}",
            "s",
        ),
    ]
