"""Which settings hold: defaults < spec < schedules that apply < task < tenant < task of the tenant.

Of several schedules that apply at once the later one in the file is the stronger. One merge, that of
`policies.layers`, serves all uses: `resolve` makes the values a decision needs, `explain` tells where each
came from, `conflicts` finds what cannot hold.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from policies.base import Mode
from policies.groups import Acceptance, DraftLength, Exploration, Limits, Objective, Threshold
from policies.layers import GROUPS, SINGLE, Layer, Layers, contradictions, group, merged
from policies.problems import Path, Violation, format_path
from policies.schema import RoutingPolicy
from policies.timetable import Timetable

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


class PolicyTable:
    """A policy prepared for the hot path: resolving is a dictionary lookup.

    Tenants and tasks the policy does not name share one entry, so the table stays as small as the policy
    however many tenants there are. Which schedules apply is looked up when the minute changes; when others
    apply than before, the entries are made anew, each as it is asked for.
    """

    def __init__(self, policy: RoutingPolicy) -> None:
        self.policy = policy
        self._layers = Layers(policy)
        self._timetable = _timetable(policy)
        self._minute: float | None = None
        self._schedules: tuple[int, ...] = ()
        self._entries: dict[tuple[str | None, str | None], EffectivePolicy] = {}

    def resolve(self, *, tenant: str, task: str, now_s: float) -> EffectivePolicy:
        """The settings of a request of this tenant and task at this time, in seconds since 1970.

        Until other schedules apply the answer for a tenant and task stays the same object.

        Raises:
            ValueError: The merged values contradict each other (a policy from `parse_policy` has none such).
        """
        minute = now_s // _MINUTE_S
        if minute != self._minute:
            self._turn_to(minute)
        spec = self.policy.spec
        own = spec.tenants.get(tenant)
        key = (
            tenant if own is not None else None,
            task if task in spec.tasks or (own is not None and task in own.tasks) else None,
        )
        entry = self._entries.get(key)
        if entry is None:
            layers = self._layers.select(tenant, task, self._schedules)
            entry = self._entries[key] = _effective(layers)
        return entry

    def _turn_to(self, minute: float) -> None:
        """Notice which schedules apply, whichever way the clock went."""
        schedules = self._timetable.at(dt.datetime.fromtimestamp(minute * _MINUTE_S, dt.UTC))
        if schedules != self._schedules:
            self._schedules = schedules
            self._entries = {}
        self._minute = minute


def resolve(
    policy: RoutingPolicy, *, tenant: str, task: str, at: dt.datetime | None = None
) -> EffectivePolicy:
    """The settings of a request of this tenant and task, merged anew; see `PolicyTable` for the hot path.

    Without a moment `at` no schedule applies.

    Raises:
        ValueError: The merged values contradict each other (a policy from `parse_policy` has none such), or
            the moment has no time zone.
    """
    return _effective(Layers(policy).select(tenant, task, applying(policy, at)))


def explain(
    policy: RoutingPolicy, tenant: str, task: str, at: dt.datetime | None = None
) -> list[Explanation]:
    """Every effective setting, in the order of the schema, with the layer that set it.

    Values read as in a file (`10m`, not 600.0). Layers are `defaults`, `spec`, `schedules.<name>`,
    `tasks.<task>`, `tenants.<tenant>` and `tenants.<tenant>.tasks.<task>`. Where the span of a more specific
    layer moved `k.default`, its value is the moved one, its layer the one that set it, and its note tells the
    rest. Without a moment `at` no schedule applies.

    Raises:
        ValueError: The moment has no time zone.
    """
    settings = merged(Layers(policy).select(tenant, task, applying(policy, at)))
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
    return () if at is None else _timetable(policy).at(at)


def conflicts(policy: RoutingPolicy) -> list[Violation]:
    """Contradictions that appear only when layers are merged, once each, for every named combination.

    Paths start at the root of the file; the first one is the most specific key involved.
    """
    layers = Layers(policy)
    tried: set[tuple[Path, ...]] = set()
    found: dict[tuple[Path, ...], Violation] = {}
    for tenant, task, schedules in _combinations(policy):
        selected = layers.select(tenant, task, schedules)
        signature = tuple(layer.path for layer in selected if layer.is_ruled)
        if signature in tried:
            continue
        tried.add(signature)
        for violation in contradictions(merged(selected)):
            found.setdefault(violation.paths, violation)
    return list(found.values())


def _combinations(policy: RoutingPolicy) -> Iterator[tuple[str | None, str | None, tuple[int, ...]]]:
    """Tenants, tasks and schedules that together show every contradiction there can be.

    A rule compares two keys, hence two layers. What two schedules say against each other shows without
    tenants and tasks, which could only hide it. What one says against a tenant or task shows without the
    others.
    """
    tenants = policy.spec.tenants
    alone = [(), *((index,) for index in range(len(policy.spec.schedules)))]
    for tenant in (None, *tenants):
        own = tenants[tenant].tasks if tenant is not None else {}
        for task in (None, *dict.fromkeys((*policy.spec.tasks, *own))):
            for schedules in alone:
                yield tenant, task, schedules
    for pair in _timetable(policy).overlaps():
        yield None, None, pair


def _timetable(policy: RoutingPolicy) -> Timetable:
    return Timetable(schedule.when for schedule in policy.spec.schedules)


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
