"""The dashboard's panels, row by row: what routing gains, what changed, why, and how long things take.

They ask recorded figures only (`router.monitoring.recorded`), so they show the same whichever way those came.
"""

from __future__ import annotations

from typing import Final

from router.monitoring.dashboard_parts import IN, part_panels
from router.monitoring.panels import Panel, Query, heat, lines, row, stat, table

_OF_TASK: Final = '{namespace=~"$namespace", task=~"$task"}'


def panels() -> list[Panel]:
    """All of them, row by row."""
    return [*_gains(), *_changes(), *_reasons(), *_latencies(), *part_panels()]


def _gains() -> list[Panel]:
    speedup = (
        "sum(specroute:saved_seconds:rate1h{0}) / sum(specroute:speculative_decode_seconds:rate1h{0}) + 1"
    )
    return [
        row("Which tasks gain, and how much"),
        stat("Speedup of speculative answers, last hour", speedup.format(IN), "x", good_from=1.0),
        stat(
            "Decoding time saved, per second", f"sum(specroute:saved_seconds:rate1h{IN})", "s", good_from=0.0
        ),
        stat("Requests", f"sum(specroute:requests:rate5m{IN})", "reqps"),
        stat(
            "Share that speculates",
            f'sum(specroute:requests:rate5m{{namespace=~"$namespace", route="speculative"}})'
            f" / sum(specroute:requests:rate5m{IN})",
            "percentunit",
        ),
        table(
            "By task",
            [
                Query(f"max by (task) (specroute:alpha:max{_OF_TASK})", "alpha"),
                Query(
                    f"sum by (task) (specroute:saved_seconds:rate1h{_OF_TASK})"
                    f" / sum by (task) (specroute:speculative_decode_seconds:rate1h{_OF_TASK}) + 1",
                    "times as fast",
                ),
                Query(
                    f"sum by (task) (specroute:saved_seconds:rate1h{_OF_TASK})", "seconds saved per second"
                ),
                Query(
                    'sum by (task) (specroute:requests:rate5m{namespace=~"$namespace", task=~"$task", '
                    'route="speculative"})'
                    f" / sum by (task) (specroute:requests:rate5m{_OF_TASK})",
                    "share that speculates",
                ),
                Query(f"sum by (task) (specroute:requests:rate5m{_OF_TASK})", "requests per second"),
            ],
        ),
        lines("Speedup by task", f"specroute:speedup:ratio5m{_OF_TASK}", "{{task}} on {{profile}}", "x"),
        lines("Decoding time saved", f"specroute:saved_seconds:rate5m{_OF_TASK}", "{{task}}", "s"),
    ]


def _changes() -> list[Panel]:
    return [
        row("What changed"),
        lines(
            "Alpha by task",
            f"specroute:alpha:max{_OF_TASK}",
            "{{task}} on {{profile}}",
            "percentunit",
            more=[
                Query(f"specroute:alpha_lower:min{_OF_TASK}", "{{task}} on {{profile}}, lower"),
                Query(f"specroute:alpha_upper:max{_OF_TASK}", "{{task}} on {{profile}}, upper"),
            ],
            wide=True,
        ),
        lines(
            "Draft acceptance rate", f"specroute:acceptance_rate:ratio5m{_OF_TASK}", "{{task}}", "percentunit"
        ),
        lines("Tokens per pass", f"specroute:acceptance_length:ratio5m{_OF_TASK}", "{{task}}", "short"),
        lines(
            "Drift events of half an hour",
            f"specroute:drift_events:increase30m{IN} > 0",
            "{{kind}} {{task}} on {{profile}}",
            "short",
        ),
        lines(
            "Predicted over measured decode time",
            f"specroute:predicted_over_measured:max{IN}",
            "{{profile}}, highest",
            "x",
            more=[Query(f"specroute:predicted_over_measured:min{IN}", "{{profile}}, lowest")],
        ),
    ]


def _reasons() -> list[Panel]:
    return [
        row("Why"),
        lines(
            "Reasons",
            f"sum by (reason) (specroute:requests:rate5m{_OF_TASK})",
            "{{reason}}",
            "reqps",
            stacked=True,
        ),
        lines(
            "Where requests go",
            f"sum by (profile, route) (specroute:requests:rate5m{_OF_TASK})",
            "{{route}} on {{profile}}",
            "reqps",
            stacked=True,
        ),
        heat("k that requests were given", f"sum by (le) (specroute:k_bucket:rate5m{IN})"),
        lines(
            "Canary",
            f"specroute:canary_phase:max{IN} == 1",
            "{{phase}} {{candidate}}",
            "short",
            more=[Query(f"specroute:canary_stops:increase15m{IN} > 0", "stopped")],
        ),
    ]


def _latencies() -> list[Panel]:
    def percentiles(what: str, by: str) -> list[Query]:
        legend = "".join(f"{{{{{label}}}}}, " for label in by.split(", ") if label)
        inner = f"sum by ({by + ', ' if by else ''}le) (specroute:{what}_bucket:rate5m{IN})"
        return [
            Query(f"histogram_quantile({part}, {inner})", f"{legend}{part:.0%}") for part in (0.5, 0.95, 0.99)
        ]

    def panel(title: str, what: str, by: str = "") -> Panel:
        first, *others = percentiles(what, by)
        return lines(title, first.promql, first.legend, "s", more=others)

    return [
        row("Latencies"),
        panel("Time to first token", "ttft_seconds", "route"),
        panel("Time per output token", "tpot_seconds", "route"),
        lines(
            "Mean time per output token by task",
            f"specroute:tpot_seconds:ratio5m{_OF_TASK}",
            "{{task}}, {{route}}",
            "s",
        ),
        panel("Overhead of routing", "overhead_seconds"),
        panel("A decision", "decision_seconds"),
        lines(
            "Tokens",
            f"sum by (route) (specroute:completion_tokens:rate5m{_OF_TASK})",
            "answers, {{route}}",
            "short",
            more=[Query(f"sum(specroute:prompt_tokens:rate5m{_OF_TASK})", "prompts")],
        ),
    ]
