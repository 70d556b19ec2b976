"""docs/metrics.md, written from the metrics that a router registers: `python -m router.monitoring`.

A test compares the file with what this prints, so a metric that is added anywhere must be on the page.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, cast

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from router.capture_settings import CaptureSettings
from router.ingress import Router
from router.monitoring.questions import sections
from router.pools import PoolClient
from router.settings import DecisionLogSettings, DeploymentSettings

_UNITS: Final = {
    "_timestamp_seconds": "unix time in seconds",
    "_per_second": "per second",
    "_seconds": "seconds",
    "_tokens": "tokens",
    "_requests": "requests",
    "_info": "always 1",
    "_ratio": "ratio",
    "_over_measured": "ratio",
    "_rate": "ratio",
    "_alpha": "ratio",
    "_alpha_lower": "ratio",
    "_alpha_upper": "ratio",
    "_length": "tokens per pass",
    "specroute_k": "tokens per pass",
    "_up": "0 or 1",
    "_ready": "0 or 1",
    "_rejected": "0 or 1",
    "_phase": "0 or 1",
}
"""What a name's ending says; anything else is a number of what its help tells."""

_INTRO: Final = """\
# Metrics

Written by `python -m router.monitoring` from what a router registers; do not edit. How they are
scraped, and which alerts there are, stands in [operations](operations.md#monitoring) and in the
[runbooks](runbooks.md).

- `GET /metrics` of the service port has the names below. It is answered by one router, whichever the
  proxy picks: for deployments with one.
- Ray's metrics endpoint, port 8080 of every Ray pod, has those of all routers, with Ray's prefix
  (`ray_specroute_…`) and a label `router` more. Ray makes the `_sum` of a histogram from the middles of
  its buckets: ask for quantiles there, not for means.

[k8s/monitoring](../k8s/monitoring) records them under names of one kind (`specroute:…`), whichever way
they come; dashboard and alerts ask those. The queries here are for plain names.

A histogram has `_bucket`, `_sum` and `_count`. Prometheus' client adds a `_created` to counters and
histograms.

Cardinality: `route`, `reason`, `stage`, `kind`, `result` and the like are closed sets, `profile` is the
deployment's, `task` the built-in tasks and the policy's own. A `tenant` is a label only where the policy
names it under `tenants`; `specroute alpha` knows of the others.
"""


class Described(NamedTuple):
    """One metric as the page shows it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    unit: str
    help: str


def described() -> list[Described]:
    """Every metric of a router, by name, in the settings that have most of them."""
    with tempfile.TemporaryDirectory() as folder:
        log = DecisionLogSettings(path=str(Path(folder) / "decisions.jsonl"))
        kept = CaptureSettings(folder=folder, tenants=("*",))
        settings = DeploymentSettings(decision_log=log, capture=kept)
        nobody = cast("PoolClient", None)  # nothing is asked of a pool here
        router = Router(settings, {profile.name: nobody for profile in settings.profiles})
        return sorted(_of(router.parts.metrics.registry))


def page() -> str:
    """The whole document."""
    lines = [
        _INTRO,
        "## Metrics of the router",
        "",
        "| name | type | labels | unit | |",
        "|---|---|---|---|---|",
    ]
    for metric in described():
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.unit} | {metric.help} |")
    return "\n".join([*lines, "", *sections()])


def _of(registry: CollectorRegistry) -> Iterator[Described]:
    for collector in list(registry._collector_to_names):  # noqa: SLF001 - a registry tells no labels
        for family in collector.collect():
            name = f"{family.name}_total" if family.type == "counter" else family.name
            yield Described(
                name, family.type, _labels(collector, family), _unit(family), family.documentation
            )


def _labels(collector: Collector, family: Metric) -> tuple[str, ...]:
    """Also of a metric that has no series yet."""
    names = getattr(family, "_labelnames", None) or getattr(collector, "_labelnames", None)
    return tuple(names or ())


def _unit(family: Metric) -> str:
    return next((unit for ending, unit in _UNITS.items() if family.name.endswith(ending)), "number")
