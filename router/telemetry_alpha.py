"""The alpha of every task, as a metric with its interval."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from policies.acceptance import pooled
from policies.cells import CellKey
from router.learning import Learning
from router.policy_source import PolicySource
from router.requests import ANONYMOUS
from router.snapshot import Snapshot

Counters = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class TaskEvidence:
    """A task's counters on a profile, over all temperatures and tenants, decayed to now."""

    counted: Counters = field(default_factory=dict)
    """What engines counted."""
    replayed: Counters = field(default_factory=dict)
    """What replays of its copying drafter add."""


def evidence_by_task(
    snapshot: Snapshot, policies: PolicySource, now_s: float
) -> dict[tuple[str, str], TaskEvidence]:
    """The evidence of every (profile, task). Reads the tasks' totals only, however many tenants there are."""
    counted: dict[tuple[str, str], list[Counters]] = {}
    replayed: dict[tuple[str, str], list[Counters]] = {}
    for key in snapshot:
        if key.tenant is None and (record := snapshot.get(key)) is not None:
            half_life_s = policies.resolve(tenant=ANONYMOUS, task=key.task).acceptance.half_life
            groups = replayed if key.is_of_replays else counted
            groups.setdefault((key.served_profile, key.task), []).append(
                record.decayed_to(now_s, half_life_s)
            )
    return {
        name: TaskEvidence(pooled(counted.get(name, ())), pooled(replayed.get(name, ())))
        for name in dict.fromkeys([*counted, *replayed])
    }


class AlphaCollector(Collector):
    """Reads alpha as it is believed, where there is evidence; `/admin/v1/alpha` has it by tenant as well."""

    def __init__(
        self, snapshot: Snapshot, learning: Learning, policies: PolicySource, clock: Callable[[], float]
    ) -> None:
        self._snapshot = snapshot
        self._learning = learning
        self._policies = policies
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """Every family; Prometheus' library calls it for each scrape."""
        labels = "profile", "task"
        families = [
            GaugeMetricFamily(
                "specroute_alpha",
                "Effective acceptance per draft token at the policy's k.default, coverage included.",
                labels=labels,
            ),
            GaugeMetricFamily("specroute_alpha_lower", "Lower end of alpha's 90 % interval.", labels=labels),
            GaugeMetricFamily("specroute_alpha_upper", "Upper end of alpha's 90 % interval.", labels=labels),
        ]
        found = evidence_by_task(self._snapshot, self._policies, self._clock())
        for (profile, task), evidence in sorted(found.items()):
            if not evidence.replayed.get("requests") and not evidence.counted.get("reached:1"):
                continue
            estimate = self._learning.believed(
                CellKey(profile, task, "low").of_replays().profile if evidence.replayed else profile,
                task,
                evidence.replayed or evidence.counted,
                self._policies.resolve(tenant=ANONYMOUS, task=task),
            )
            for family, value in zip(families, (estimate.alpha, *estimate.interval), strict=True):
                family.add_metric([profile, task], value)
        yield from families
