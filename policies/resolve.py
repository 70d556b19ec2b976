"""Which settings hold, the weakest layer first.

Defaults < spec < schedules that apply < task < segment < its task < tenant < its task < what the tenant set
for itself. Of several schedules that apply at once the later one in the file is the stronger. One merge, that
of `policies.layers`, serves all uses: `resolve` makes the values a decision needs, `explain` tells where each
came from, `policies.conflicts` finds what cannot hold.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final, NamedTuple

from policies.base import Mode
from policies.groups import Acceptance, DraftLength, Exploration, Limits, Objective, Threshold
from policies.layers import GROUPS, SINGLE, Layer, Layers, contradictions, group, merged
from policies.preferences import Preferences, own_layers, self_service
from policies.problems import format_path
from policies.schema import RoutingPolicy
from policies.timetable import timetable

_MINUTE_S: Final = 60


@dataclass(frozen=True, slots=True)
class EffectivePolicy:
    """The settings that hold for one tenant and task. `prior_alpha` None means the built-in prior."""

    mode: Mode
    allow_overrides: bool
    acceptance: Acceptance
    threshold: Threshold
    objective: Objective
    k: DraftLength
    exploration: Exploration
    affinity_s: float
    limits: Limits
    holdout_share: float
    prior_alpha: float | None


class Explanation(NamedTuple):
    """One effective setting: its path, its value as a file would have it, the layer that set it.

    `note` is empty, or says what else made the value what it is.
    """

    path: str
    value: object
    layer: str
    note: str = ""


class _Entry(NamedTuple):
    effective: EffectivePolicy
    preferences: Preferences | None


class PolicyTable:
    """A policy prepared for the hot path: resolving is a dictionary lookup.

    Tenants and tasks the policy does not name share one entry, so the table stays as small as the policy
    however many tenants there are. Which schedules apply is looked up when the minute changes; when others
    apply than before, the entries are made anew, each as it is asked for. So is that of a tenant whose
    preferences changed.
    """

    def __init__(self, policy: RoutingPolicy) -> None:
        self.policy = policy
        self._layers = Layers(policy)
        self._tasks = frozenset(policy.spec.tasks)
        self._own_tasks = {tenant: frozenset(policy.spec.tasks_of(tenant)) for tenant in policy.spec.tenants}
        self._timetable = timetable(policy)
        self._minute: float | None = None
        self._schedules: tuple[int, ...] = ()
        self._entries: dict[tuple[str | None, str | None], _Entry] = {}

    def resolve(
        self, *, tenant: str, task: str, now_s: float, preferences: Preferences | None = None
    ) -> EffectivePolicy:
        """The settings of a request of this tenant and task at this time, in seconds since 1970.

        `preferences` are what the tenant set for itself; they count within the bounds of its `self_service`,
        hence for no tenant that the policy does not name. Until they change or other schedules apply, the
        answer for a tenant and task stays the same object.

        Raises:
            ValueError: The merged values contradict each other (a policy from `parse_policy` has none such).
        """
        minute = now_s // _MINUTE_S
        if minute != self._minute:
            self._turn_to(minute)
        tasks = self._own_tasks.get(tenant)
        key: tuple[str | None, str | None]
        if tasks is None:
            key = (None, task if task in self._tasks else None)
            preferences = None
        elif task in tasks or (preferences is not None and task in preferences.tasks):
            key = (tenant, task)
        else:
            key = (tenant, None)
        entry = self._entries.get(key)
        if entry is None or (entry.preferences is not preferences and entry.preferences != preferences):
            layers = _selected(self._layers, tenant, task, self._schedules, preferences)
            entry = self._entries[key] = _Entry(_effective(layers), preferences)
        return entry.effective

    def _turn_to(self, minute: float) -> None:
        """Notice which schedules apply, whichever way the clock went."""
        schedules = self._timetable.at(dt.datetime.fromtimestamp(minute * _MINUTE_S, dt.UTC))
        if schedules != self._schedules:
            self._schedules = schedules
            self._entries = {}
        self._minute = minute


def resolve(
    policy: RoutingPolicy,
    *,
    tenant: str,
    task: str,
    at: dt.datetime | None = None,
    preferences: Preferences | None = None,
) -> EffectivePolicy:
    """The settings of a request of this tenant and task, merged anew; see `PolicyTable` for the hot path.

    Without a moment `at` no schedule applies.

    Raises:
        ValueError: The merged values contradict each other (a policy from `parse_policy` has none such), or
            the moment has no time zone.
    """
    return _effective(_selected(Layers(policy), tenant, task, applying(policy, at), preferences))


def explain(
    policy: RoutingPolicy,
    tenant: str,
    task: str,
    at: dt.datetime | None = None,
    preferences: Preferences | None = None,
) -> list[Explanation]:
    """Every effective setting, in the order of the schema, with the layer that set it.

    Values read as in a file (`10m`, not 600.0). Layers are `defaults`, `spec`, `schedules.<name>`,
    `tasks.<task>`, `segments.<segment>`, `segments.<segment>.tasks.<task>`, `tenants.<tenant>`,
    `tenants.<tenant>.tasks.<task>`, `preferences` and `preferences.tasks.<task>`. The note tells where more
    than one layer made a value what it is: a span that moved `k.default`, a mode of spec that holds for
    everyone, a preference that was moved into its bounds or does not count. Without a moment `at` no schedule
    applies.

    Raises:
        ValueError: The moment has no time zone.
    """
    settings = merged(_selected(Layers(policy), tenant, task, applying(policy, at), preferences))
    written = {name: group(settings, name).model_dump(mode="json", by_alias=True) for name in GROUPS}
    return [
        Explanation(
            format_path(path),
            written[path[0]][path[1]] if len(path) > 1 else setting.value,
            setting.layer.name,
            setting.note,
        )
        for path, setting in settings.items()
    ]


def applying(policy: RoutingPolicy, at: dt.datetime | None) -> tuple[int, ...]:
    """The schedules that apply at a moment, by their indices in the file; without a moment none.

    Raises:
        ValueError: The moment has no time zone.
    """
    return () if at is None else timetable(policy).at(at)


def _selected(
    layers: Layers,
    tenant: str,
    task: str,
    schedules: tuple[int, ...],
    preferences: Preferences | None,
) -> list[Layer]:
    """The layers of the policy, and on them those of the tenant itself."""
    selected = layers.select(tenant, task, schedules)
    if preferences is not None:
        selected += own_layers(selected, preferences, allowed=self_service(layers.policy, tenant), task=task)
    return selected


def _effective(layers: list[Layer]) -> EffectivePolicy:
    settings = merged(layers)
    for violation in contradictions(settings):
        raise ValueError(f"{format_path(violation.paths[0])}: {violation.message}")
    groups = {name: group(settings, name) for name in GROUPS}
    holdout, affinity = groups.pop("holdout"), groups.pop("affinity")
    singles = {name: settings[(name,)].value for name in SINGLE}
    return EffectivePolicy(
        **groups,  # type: ignore[arg-type]
        **singles,  # type: ignore[arg-type]
        holdout_share=holdout.share,  # type: ignore[attr-defined]
        affinity_s=affinity.conversation,  # type: ignore[attr-defined]
    )
