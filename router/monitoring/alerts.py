"""Alerts on the recorded figures. Each has an entry of its name in docs/runbooks.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

RUNBOOKS: Final = "https://runbooks.example/specroute/runbooks.md"
"""Where `runbook_url` points as long as nobody has published docs/runbooks.md and written the rules with its
address: `python -m router.monitoring --runbooks URL`."""

ERROR_BUDGET: Final = 0.001
"""The share of requests that may fail: an availability of 99.9 %."""

_BURNS: Final = (
    ("Fast", "critical", 14.4, "1h", "5m", "2m", "2 % of a month's budget in one hour"),
    ("", "critical", 6.0, "6h", "30m", "15m", "5 % of a month's budget in six hours"),
    ("Slow", "warning", 1.0, "3d", "6h", "1h", "10 % of a month's budget in three days"),
)
"""Burn rates and windows of the multi-window, multi-burn-rate alerts that Google's Site Reliability Workbook
recommends (chapter 5, "Alerting on SLOs", https://sre.google/workbook/alerting-on-slos/). The short window, a
twelfth of the long one, makes the alert end soon after the errors do."""

Severity = Literal["critical", "warning", "info"]


class Alert(NamedTuple):
    """One alert: `critical` should wake somebody, `warning` can wait for the morning, `info` for longer."""

    name: str
    severity: Severity
    promql: str
    lasting: str
    summary: str
    description: str


def alerts() -> Iterator[Alert]:
    """Every alert."""
    yield from _acceptance()
    yield from _gains()
    yield from _parts()
    yield from _load()
    for suffix, severity, rate, long, short, lasting, spends in _BURNS:
        limit = f"{rate:g} * {ERROR_BUDGET:g}"
        yield Alert(
            f"SpecrouteErrorBudgetBurn{suffix}",
            severity,  # type: ignore[arg-type]  # a literal of the table above
            f"specroute:errors:ratio{long} > {limit} and specroute:errors:ratio{short} > {limit}",
            lasting,
            f"Requests fail {rate:g} times as often as an availability of 99.9 % allows",
            f"{{{{ $value | humanizePercentage }}}} of the requests of the last {long} failed, which spends "
            f"{spends}.",
        )


def _acceptance() -> Iterator[Alert]:
    yield Alert(
        "SpecrouteAlphaFell",
        "warning",
        'specroute:drift_events:increase30m{kind="task_fell"} > 0',
        "0m",
        "Drafts for {{ $labels.task }} on {{ $labels.profile }} are accepted less than before",
        "The router noticed a fall, dropped the old evidence of the task and routes by the new.",
    )
    yield Alert(
        "SpecrouteDrafterRot",
        "critical",
        'specroute:drift_events:increase30m{kind="drafter_rot"} > 0',
        "0m",
        "The drafter of {{ $labels.profile }} no longer fits its target",
        "Most active tasks of the profile fell within half an hour.",
    )


def _gains() -> Iterator[Alert]:
    yield Alert(
        "SpecroutePredictionsOff",
        "warning",
        "specroute:predicted_over_measured:max > 1.5 or specroute:predicted_over_measured:min < 0.67",
        "30m",
        "Predicted and measured decode times on {{ $labels.profile }} disagree",
        'Predicted over measured is {{ printf "%.2f" $value }}: decisions stand on a wrong cost model.',
    )
    yield Alert(
        "SpecrouteNoGain",
        "warning",
        "specroute:speedup:ratio1h < 1 and specroute:speculative_decode_seconds:rate1h > 0.01",
        "30m",
        "Speculation on {{ $labels.profile }} makes {{ $labels.task }} slower",
        'By prediction the plain route takes {{ printf "%.2f" $value }} times as long: below 1 is a loss.',
    )
    yield Alert(
        "SpecrouteCanaryStopped",
        "info",
        "specroute:canary_stops:increase15m > 0",
        "0m",
        "A policy candidate was found to be worse and was stopped",
        "All requests are decided by the policy in force again.",
    )


def _parts() -> Iterator[Alert]:
    yield Alert(
        "SpecrouteDown",
        "critical",
        "absent(specroute:routers:count)",
        "5m",
        "No router is scraped",
        "Either none runs, or Prometheus cannot reach its metrics.",
    )
    yield Alert(
        "SpecrouteNoEngine",
        "critical",
        "specroute:ready:min == 0",
        "2m",
        "A router has no pool that answers",
        "Its requests get 503 with Retry-After.",
    )
    yield Alert(
        "SpecroutePoolDown",
        "warning",
        "specroute:pool_up:min == 0",
        "5m",
        "The pool {{ $labels.profile }} does not answer",
        "The other pools take its requests.",
    )
    yield Alert(
        "SpecrouteFailovers",
        "warning",
        "sum by (namespace) (specroute:failovers:increase15m) >= 3",
        "0m",
        "Engines end or stop answering",
        "{{ $value | humanize }} requests were moved to another replica within 15 minutes.",
    )
    yield Alert(
        "SpecrouteStoreDown",
        "warning",
        "specroute:store_up:min == 0",
        "5m",
        "The statistics store does not answer",
        "Requests are served; routers learn for themselves, and nothing is shared between them.",
    )
    yield Alert(
        "SpecroutePolicyRejected",
        "warning",
        "specroute:policy_rejected:max > 0",
        "5m",
        "A newer policy cannot be used",
        "What came from the {{ $labels.source }} is broken; the last good policy stays in force.",
    )
    yield Alert(
        "SpecrouteDecisionLogLosing",
        "warning",
        'sum by (namespace, result) (specroute:decision_log_lines:rate5m{result=~"dropped|failed"}) > 0',
        "10m",
        "Lines of the decision log are lost",
        "{{ $value | humanize }} lines a second are {{ $labels.result }}.",
    )


def _load() -> Iterator[Alert]:
    yield Alert(
        "SpecrouteQueueSaturated",
        "warning",
        'sum by (namespace) (specroute:refused:rate5m{cause=~"fair_share|queue_full|deadline"}) > 0',
        "10m",
        "More is asked than the engines can decode",
        "{{ $value | humanize }} requests a second are turned away with 429, or wait in vain.",
    )
    yield Alert(
        "SpecrouteSlowDecisions",
        "warning",
        "histogram_quantile(0.99, specroute:decision_seconds_bucket:rate5m) > 0.005",
        "15m",
        "Deciding takes longer than it may",
        "99 % of the decisions take up to {{ $value | humanizeDuration }}; 1 ms is usual.",
    )
