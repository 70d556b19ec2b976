"""The router's metrics through Ray's metrics endpoint, where several routers can be told from each other.

`GET /metrics` of the service port is answered by whichever router the proxy picks; Ray's endpoint has all of
a node. Ray adds its prefix (`ray_specroute_…`) and labels of its own.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.samples import Sample
from ray.util import metrics as ray_metrics

from router.background import repeated

ROUTER_LABEL: Final = "router"
INTERVAL_S: Final = 5.0
"""Ray collects every 10 s. A gauge that was not set for 20 s is gone there, as it should be."""

_NOTHING: Final = sys.float_info.min
"""Ray refuses to count 0, and a counter that appears with its first event has no increase. This is no event
either: 1 + it is 1."""

_Labels = frozenset[tuple[str, str]]


class RayMirror:
    """Copies the changes of a registry to Ray's metrics.

    Ray makes a histogram's sum from the middles of its buckets, whoever observes, so nothing is lost when an
    observation reaches it as the middle of its bucket. `instruments` has Counter, Gauge and Histogram.
    """

    def __init__(self, registry: CollectorRegistry, router: str, instruments: Any = ray_metrics) -> None:
        self._registry = registry
        self._router = router
        self._instruments = instruments
        self._known: dict[str, Any] = {}
        self._counted: dict[tuple[str, _Labels], float] = {}

    async def run(
        self, interval_s: float = INTERVAL_S, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """Mirror for as long as the task lives; requests get their turn between two metrics."""

        async def step() -> None:
            for family in self._registry.collect():
                self.mirror(family)
                await sleep(0)

        await repeated("metrics", step, interval_s, sleep)

    def mirror(self, family: Metric) -> None:
        """Bring one metric up to date."""
        match family.type:
            case "counter":
                for sample in family.samples:
                    if sample.name.endswith("_total"):
                        self._count(family, sample)
            case "gauge":
                self._set(family)
            case "histogram":
                self._observe(family)

    def _count(self, family: Metric, sample: Sample) -> None:
        counter = self._instrument("Counter", family.name, family.documentation, sample.labels)
        key = sample.name, frozenset(sample.labels.items())
        if key not in self._counted:
            counter.inc(_NOTHING, tags=self._tags(sample.labels))
        if (more := sample.value - self._counted.get(key, 0.0)) > 0:
            counter.inc(more, tags=self._tags(sample.labels))
        self._counted[key] = sample.value

    def _set(self, family: Metric) -> None:
        for sample in family.samples:
            gauge = self._instrument("Gauge", family.name, family.documentation, sample.labels)
            gauge.set(float(sample.value), tags=self._tags(sample.labels))

    def _observe(self, family: Metric) -> None:
        buckets: dict[_Labels, list[tuple[float, float]]] = {}
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                labels = {name: value for name, value in sample.labels.items() if name != "le"}
                buckets.setdefault(frozenset(labels.items()), []).append(
                    (float(sample.labels["le"]), sample.value)
                )
        for key, cumulative in buckets.items():
            labels = dict(key)
            bounds = [le for le, _ in cumulative if 0 < le < math.inf]  # Ray takes positive ones only
            histogram = self._instrument(
                "Histogram", family.name, family.documentation, labels, boundaries=bounds
            )
            lower = total = 0.0
            for le, count in cumulative:
                seen = f"{family.name}:{le}", key
                # What is at most `le` less what is at most the bound before it.
                times = round(count - total)
                for _ in range(times - round(self._counted.get(seen, 0.0))):
                    histogram.observe(_middle(lower, le), tags=self._tags(labels))
                self._counted[seen] = times
                lower, total = le, count

    def _instrument(
        self, kind: str, name: str, text: str, labels: Mapping[str, str], **more: Sequence[float]
    ) -> Any:
        if name not in self._known:
            make = getattr(self._instruments, kind)
            self._known[name] = make(name, description=text, tag_keys=(*labels, ROUTER_LABEL), **more)
        return self._known[name]

    def _tags(self, labels: Mapping[str, str]) -> dict[str, str]:
        return {**labels, ROUTER_LABEL: self._router}


def _middle(lower: float, upper: float) -> float:
    return 2 * lower if math.isinf(upper) else (lower + upper) / 2
