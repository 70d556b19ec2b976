"""Which settings hold for a tenant and a task: defaults < spec < task < tenant < task of the tenant.

One merge serves both uses: `resolve` makes the values a decision needs, `explain` tells where each came from.

A layer may move only `k.max` or `k.min`: a `k.default` that it inherits follows into the span. What one layer
says itself, or says against a layer below, must be consistent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from policies.base import Mode, PolicyModel
from policies.groups import Acceptance, DraftLength, Exploration, Holdout, Limits, Threshold
from policies.problems import Path, Violation, format_path
from policies.schema import RoutingPolicy, Spec

DEFAULTS: Final = "defaults"

_GROUPS: Final[Mapping[str, type[PolicyModel]]] = {
    "acceptance": Acceptance,
    "threshold": Threshold,
    "k": DraftLength,
    "exploration": Exploration,
    "limits": Limits,
    "holdout": Holdout,
}
# A group's keys as files write them, and as its model calls them (`class` cannot be an attribute).
_FIELDS: Final = {
    name: {info.alias or field: field for field, info in form.model_fields.items()}
    for name, form in _GROUPS.items()
}
_BEYOND: Final = {"min": "below", "max": "above"}
_SINGLE: Final = ("mode", "allow_overrides", "prior_alpha")


@dataclass(frozen=True, slots=True)
class EffectivePolicy:
    """The settings that hold for one tenant and task. `prior_alpha` None means the built-in prior."""

    mode: Mode
    allow_overrides: bool
    acceptance: Acceptance
    threshold: Threshold
    k: DraftLength
    exploration: Exploration
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


class _Setting(NamedTuple):
    value: object
    rank: int
    layer: Path
    note: str = ""


_Settings = dict[tuple[str, ...], _Setting]


class PolicyTable:
    """A policy prepared for the hot path: resolving is a dictionary lookup.

    Tenants and tasks the policy does not name share one entry, so the table stays as small as the policy
    however many tenants there are.
    """

    def __init__(self, policy: RoutingPolicy) -> None:
        self.policy = policy
        self._entries: dict[tuple[str | None, str | None], EffectivePolicy] = {}

    def resolve(self, *, tenant: str, task: str) -> EffectivePolicy:
        """The settings of a request of this tenant and task.

        Raises:
            ValueError: The merged values contradict each other (a policy from `parse_policy` has none such).
        """
        spec = self.policy.spec
        own = spec.tenants.get(tenant)
        key = (
            tenant if own is not None else None,
            task if task in spec.tasks or (own is not None and task in own.tasks) else None,
        )
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = resolve(self.policy, tenant=tenant, task=task)
        return entry


def resolve(policy: RoutingPolicy, *, tenant: str, task: str) -> EffectivePolicy:
    """The settings of a request of this tenant and task, merged anew; see `PolicyTable` for the hot path.

    Raises:
        ValueError: The merged values contradict each other (a policy from `parse_policy` has none such).
    """
    settings = _merged(policy, tenant, task)
    for violation in _group_violations(settings):
        raise ValueError(f"{format_path(violation.paths[0])}: {violation.message}")
    groups = {name: _group(settings, name) for name in _GROUPS}
    holdout = groups.pop("holdout")
    singles = {name: settings[(name,)].value for name in _SINGLE}
    return EffectivePolicy(**groups, **singles, holdout_share=holdout.share)  # type: ignore[arg-type,attr-defined]


def explain(policy: RoutingPolicy, tenant: str, task: str) -> list[Explanation]:
    """Every effective setting, in the order of the schema, with the layer that set it.

    Values read as in a file (`10m`, not 600.0). Layers are `defaults`, `spec`, `tasks.<task>`,
    `tenants.<tenant>` and `tenants.<tenant>.tasks.<task>`. Where the span of a more specific layer moved
    `k.default`, its value is the moved one, its layer the one that set it, and its note tells the rest.
    """
    settings = _merged(policy, tenant, task)
    written = {name: _group(settings, name).model_dump(mode="json", by_alias=True) for name in _GROUPS}
    return [
        Explanation(
            format_path(path),
            written[path[0]][path[1]] if len(path) > 1 else setting.value,
            _layer_name(setting.layer),
            setting.note,
        )
        for path, setting in settings.items()
    ]


def conflicts(policy: RoutingPolicy) -> list[Violation]:
    """Contradictions that appear only when layers are merged, once each, for every named combination.

    Paths start at the root of the file; the first one is the most specific key involved.
    """
    tenants = policy.spec.tenants
    found: dict[tuple[Path, ...], Violation] = {}
    for tenant in (None, *tenants):
        own = tenants[tenant].tasks if tenant is not None else {}
        for task in (None, *dict.fromkeys((*policy.spec.tasks, *own))):
            for violation in _group_violations(_merged(policy, tenant, task)):
                found.setdefault(violation.paths, violation)
    return list(found.values())


def _merged(policy: RoutingPolicy, tenant: str | None, task: str | None) -> _Settings:
    settings: _Settings = {
        path: _Setting(value, 0, ()) for path, value in _values(Spec(), only_set=False)
    } | {("prior_alpha",): _Setting(None, 0, ())}
    for rank, (layer, model) in enumerate(_layers(policy.spec, tenant, task), start=1):
        settings.update((path, _Setting(value, rank, layer)) for path, value in _values(model, only_set=True))
    _clamp_default(settings)
    return settings


def _clamp_default(settings: _Settings) -> None:
    """Move `k.default` to a bound that a more specific layer set beyond it."""
    default: Any = settings["k", "default"]
    for name, sign in (("min", 1), ("max", -1)):
        bound: Any = settings["k", name]
        if bound.rank > default.rank and sign * (bound.value - default.value) > 0:
            note = f"clamped: {default.value} is {_BEYOND[name]} the k.{name} of {_layer_name(bound.layer)}"
            settings["k", "default"] = default._replace(value=bound.value, note=note)


def _layers(spec: Spec, tenant: str | None, task: str | None) -> Iterator[tuple[Path, PolicyModel]]:
    yield ("spec",), spec
    if task is not None and (for_task := spec.tasks.get(task)) is not None:
        yield ("spec", "tasks", task), for_task
    if tenant is not None and (own := spec.tenants.get(tenant)) is not None:
        yield ("spec", "tenants", tenant), own
        if task is not None and (own_task := own.tasks.get(task)) is not None:
            yield ("spec", "tenants", tenant, "tasks", task), own_task


def _values(model: PolicyModel, *, only_set: bool) -> Iterator[tuple[tuple[str, ...], object]]:
    """The layered settings a model holds. An override's None is inherited, hence no value."""
    for name in _SINGLE:
        value = getattr(model, name, None)
        if value is not None and not (only_set and name not in model.model_fields_set):
            yield (name,), value
    for name, fields in _FIELDS.items():
        group: PolicyModel | None = getattr(model, name, None)
        if group is None:
            continue
        for key, field in fields.items():
            value = getattr(group, field)
            if value is not None and not (only_set and field not in group.model_fields_set):
                yield (name, key), value


def _group(settings: _Settings, name: str) -> PolicyModel:
    # Not validated again: every value was validated in its layer, and durations are seconds by now.
    values: dict[str, Any] = {key: settings[name, key].value for key in _FIELDS[name]}
    return _GROUPS[name].model_construct(**values)


def _group_violations(settings: _Settings) -> Iterator[Violation]:
    for name in _GROUPS:
        for violation in _group(settings, name).violations():
            keys = [(name, str(path[0])) for path in violation.paths]
            keys.sort(key=lambda key: -settings[key].rank)
            layers = [settings[key].layer for key in keys]
            others = " and ".join(
                f"{key[-1]} comes from {_layer_name(layer)}"
                for key, layer in zip(keys, layers, strict=True)
                if layer != layers[0]
            )
            yield Violation(
                paths=tuple(layer + key for layer, key in zip(layers, keys, strict=True)),
                message=violation.message,
                hint=f"{others}, set it here too" if others else "",
            )


def _layer_name(layer: Path) -> str:
    if not layer:
        return DEFAULTS
    return format_path(layer[1:]) or "spec"
