"""What the dashboard's page shows at one moment: a JSON object whose size does not grow with tenants."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from router.admin import Admin
from router.admission import Admission
from router.dashboard.entries import (
    activity_entry,
    evidence_entry,
    speedup_entry,
    sums_entry,
    tenant_entry,
)
from router.dashboard.history import History, SeriesKey, Values
from router.dashboard.speedup import speedup
from router.dashboard.tally import WINDOW_S, Activity, Key, Tally, tallies_of
from router.dashboard.timeline import Timeline
from router.policy_source import PolicySource
from router.requests import ANONYMOUS
from router.snapshot import Snapshot

TOP_TENANTS: Final = 20
_MOST_TASKS: Final = 60
_DECISIONS: Final = 30
_EVENTS: Final = 50
_WATCHED: Final = 20
_SHOWN: Final = (
    "request_id",
    "at",
    "tenant",
    "task",
    "route",
    "profile",
    "k",
    "reason",
    "explanation",
    "result",
    "alpha",
    "expected_speedup",
    "ttft_s",
    "total_s",
    "completion_tokens",
)


class View(NamedTuple):
    """What a page looks at: a tenant (None: all), a task of it for the decisions, tenants it searches for."""

    tenant: str | None = None
    task: str | None = None
    search: str = ""


class About(NamedTuple):
    """What does not change while a router runs; `router` is its name among several."""

    model: str
    routers: int
    router: str
    started_s: float


class Sources(NamedTuple):
    """Where the figures come from. `policy` tells the one in force."""

    admin: Admin
    admission: Callable[[], Admission]
    policies: PolicySource
    snapshot: Snapshot
    clock: Callable[[], float]


class State:
    """Composes what pages show, and samples what they show of the past.

    Activity (requests, arms, reasons, speedups) is this router's own, of the last hour. Evidence is what all
    routers share, as this one read it last.
    """

    def __init__(self, sources: Sources, about: About, activity: Activity, timeline: Timeline) -> None:
        self._admin, self._admission, self._policies, self._snapshot, self._clock = sources
        self._about = about
        self._activity = activity
        self._timeline = timeline
        self.history = History()
        self._known: list[str] = []
        self._watched: dict[str, None] = {}
        self._since_sample: dict[Key, list[int]] = {}

    def note(self, key: Key, k: int) -> None:
        """Count one request for the next sample."""
        for one in (key._replace(tenant=None), key):
            counts = self._since_sample.setdefault(one, [0, 0, 0])
            counts[0] += 1
            counts[1] += k > 0
            counts[2] += k

    def sample(self) -> None:
        """Add a sample to the history: of all tasks, and those of the busiest tenants and of watched ones."""
        now_s = self._clock()
        self._activity.forget(now_s)
        tenants = self._busiest()[:TOP_TENANTS]
        wanted = {None, *tenants, *self._watched}
        values: dict[SeriesKey, Values] = {}
        for row in self._admin.totals(wanted):
            if row["alpha"] is not None:
                low, high = row["interval"]
                values[SeriesKey(row["task"], row["tenant"], row["profile"])] = (row["alpha"], low, high)
        for key, (requests, speculative, k) in self._since_sample.items():
            if key.tenant in wanted:
                values[SeriesKey(key.task, key.tenant, None)] = (requests, speculative, k)
        self._since_sample.clear()
        self.history.sample(now_s, values)
        self._known = sorted({key.tenant for key in self._snapshot if key.tenant is not None})

    def told(self, view: View) -> dict[str, Any]:
        """What a page shows now; see the keys."""
        now_s, admission = self._clock(), self._admission()
        self._activity.forget(now_s)
        self._timeline.look()
        self._watch(view.tenant)
        by_tenant = self._activity.by_tenant()
        found, matching = self._tenants(view.search, by_tenant)
        rows: dict[str | None, list[dict[str, Any]]] = {}
        for row in self._admin.totals({view.tenant, *found}):
            rows.setdefault(row["tenant"], []).append(row)
        tallies = dict(tallies_of(self._activity, view.tenant))
        return {
            "at": now_s,
            "window_s": WINDOW_S,
            "since": self._activity.since_s(),
            "router": {**self._about._asdict()},
            "store": {"up": self._snapshot.store_up, "age_s": self._snapshot.age_s(now_s)},
            "policy": self._policy(),
            "load": {
                "running": admission.running,
                "waiting": admission.waiting,
                "slots": admission.capacity,
            },
            "engines": self._admin.replicas()["pools"],
            "scope": view._asdict(),
            "total": {
                **sums_entry(tallies.values()),
                "per_second": self.history.per_second(view.tenant),
                "speedup": speedup_entry(speedup(tallies)),
            },
            "tasks": self._tasks(view.tenant, tallies, rows.get(view.tenant, [])),
            "tenants": {
                "known": len(set(self._known) | by_tenant.keys()),
                "matching": matching,
                "rows": [tenant_entry(name, by_tenant.get(name, {}), rows.get(name, [])) for name in found],
            },
            "decisions": self._decisions(view),
            "events": self._timeline.told()[:_EVENTS],
        }

    def _policy(self) -> dict[str, Any]:
        state = self._policies.state
        return {
            "name": state.name,
            "revision": state.revision,
            "version": state.version,
            "mode": self._policies.policy.spec.mode,
            "rejected": state.rejected is not None,
        }

    def _tasks(
        self, tenant: str | None, tallies: Mapping[str, Tally], rows: Iterable[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        evidence: dict[str, list[dict[str, Any]]] = {}
        arms: dict[str, Any] = {}
        for row in rows:
            if row["drafted"] or row["alpha"] is not None:
                evidence.setdefault(row["task"], []).append(evidence_entry(row))
            arms[row["task"]] = row["arm"]
        names = [*tallies, *sorted(arms.keys() - tallies.keys())][:_MOST_TASKS]
        return [
            {
                "task": name,
                "evidence": evidence.get(name, []),
                "in_use": arms.get(name),
                **self._settings(name, tenant),
                **activity_entry(name, tallies.get(name, Tally())),
            }
            for name in names
        ]

    def _settings(self, task: str, tenant: str | None) -> dict[str, Any]:
        """What charts show of the policy: the task's thresholds, where the mode compares with any."""
        policy = self._policies.resolve(tenant=tenant or ANONYMOUS, task=task)
        compares = policy.mode == "threshold" and policy.threshold.metric == "alpha"
        threshold = policy.threshold
        return {
            "mode": policy.mode,
            "thresholds": [threshold.enable_above, threshold.disable_below] if compares else None,
        }

    def _decisions(self, view: View) -> list[dict[str, Any]]:
        given = {"limit": str(_DECISIONS)}
        given |= {name: value for name in ("tenant", "task") if (value := getattr(view, name))}
        listed = self._admin.decisions.listed(given)["decisions"]
        return [{name: one[name] for name in _SHOWN} for one in listed]

    def _tenants(self, search: str, by_tenant: Mapping[str, object]) -> tuple[list[str], int]:
        """The busiest tenants, or those whose name contains the search; and how many do."""
        busiest = self._busiest()
        if search:
            wanted = search.casefold()
            names = [*busiest, *(name for name in self._known if name not in by_tenant)]
            names = [name for name in names if wanted in name.casefold()]
            return names[:TOP_TENANTS], len(names)
        if len(busiest) < TOP_TENANTS:
            quiet = (name for name in self._known if name not in by_tenant)
            busiest += [name for name, _ in zip(quiet, range(TOP_TENANTS - len(busiest)), strict=False)]
        return busiest[:TOP_TENANTS], len(set(self._known) | by_tenant.keys())

    def _busiest(self) -> list[str]:
        requests = {
            tenant: sum(tally.requests for tally in tasks.values())
            for tenant, tasks in self._activity.by_tenant().items()
        }
        return sorted(requests, key=lambda name: (-requests[name], name))

    def _watch(self, tenant: str | None) -> None:
        """Sample a tenant from now on, until twenty others were looked at."""
        if tenant is not None:
            self._watched.pop(tenant, None)
            self._watched[tenant] = None
            if len(self._watched) > _WATCHED:
                del self._watched[next(iter(self._watched))]
