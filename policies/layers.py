"""A policy as layers, merged key by key: every setting remembers which layer it came from.

A layer may move only `k.max` or `k.min`: a `k.default` that it inherits follows into the span. What one layer
says itself, or says against a layer below, must be consistent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from policies.base import PolicyModel
from policies.groups import (
    Acceptance,
    Affinity,
    DraftLength,
    Exploration,
    Holdout,
    Limits,
    Objective,
    Threshold,
)
from policies.problems import Path, Violation, format_path
from policies.schema import RoutingPolicy, Spec

Key = tuple[str, ...]
"""A setting, as in ("k", "max") or ("mode",)."""

SINGLE: Final = ("mode", "allow_overrides", "prior_alpha")
GROUPS: Final[Mapping[str, type[PolicyModel]]] = {
    "acceptance": Acceptance,
    "threshold": Threshold,
    "objective": Objective,
    "k": DraftLength,
    "exploration": Exploration,
    "affinity": Affinity,
    "limits": Limits,
    "holdout": Holdout,
}
# A group's keys as files write them, and as its model calls them (`class` cannot be an attribute).
_FIELDS: Final = {
    name: {info.alias or field: field for field, info in form.model_fields.items()}
    for name, form in GROUPS.items()
}
_RULED: Final = frozenset(
    name for name, form in GROUPS.items() if form.violations is not PolicyModel.violations
)
_BEYOND: Final = {"min": "below", "max": "above"}


class Layer(NamedTuple):
    """The settings that one place of a policy file makes: `path` in the file, `name` in explanations."""

    path: Path
    name: str
    values: Mapping[Key, object]

    @property
    def is_ruled(self) -> bool:
        """Whether it has settings that rules compare with those of other layers."""
        return any(key[0] in _RULED for key in self.values)


class Setting(NamedTuple):
    """A value, its layer and that layer's rank; `note` says what else made the value what it is."""

    value: object
    rank: int
    layer: Layer
    note: str = ""


Settings = dict[Key, Setting]


class Layers:
    """The layers of a policy, each read once."""

    def __init__(self, policy: RoutingPolicy) -> None:
        self._spec = policy.spec
        self._read: dict[Path, Layer] = {}

    def select(self, tenant: str | None, task: str | None, schedules: tuple[int, ...] = ()) -> list[Layer]:
        """The layers that concern a tenant and a task while these schedules apply, the most specific last."""
        return [
            self._read.get(path) or self._layer(path, model)
            for path, model in self._models(tenant, task, schedules)
        ]

    def _models(
        self, tenant: str | None, task: str | None, schedules: tuple[int, ...]
    ) -> Iterator[tuple[Path, PolicyModel]]:
        spec = self._spec
        yield ("spec",), spec
        for index in schedules:
            yield ("spec", "schedules", index), spec.schedules[index]
        if task is not None and (for_task := spec.tasks.get(task)) is not None:
            yield ("spec", "tasks", task), for_task
        if tenant is not None and (own := spec.tenants.get(tenant)) is not None:
            yield ("spec", "tenants", tenant), own
            if task is not None and (own_task := own.tasks.get(task)) is not None:
                yield ("spec", "tenants", tenant, "tasks", task), own_task

    def _layer(self, path: Path, model: PolicyModel) -> Layer:
        match path:
            case ("spec", "schedules", int(index)):
                named: Path = ("schedules", self._spec.schedules[index].name)
            case _:
                named = path[1:]
        layer = Layer(path, format_path(named) or "spec", dict(_values(model, only_set=True)))
        return self._read.setdefault(path, layer)


def merged(layers: list[Layer]) -> Settings:
    """Every setting, in the order of the schema, from the last of the layers that makes it."""
    settings = {key: Setting(value, 0, _DEFAULTS) for key, value in _DEFAULTS.values.items()}
    for rank, layer in enumerate(layers, start=1):
        for key, value in layer.values.items():
            settings[key] = Setting(value, rank, layer)
    _clamp_default(settings)
    return settings


def group(settings: Settings, name: str) -> PolicyModel:
    """The settings of one group as its model."""
    # Not validated again: every value was validated in its layer, and durations are seconds by now.
    values: dict[str, Any] = {key: settings[name, key].value for key in _FIELDS[name]}
    return GROUPS[name].model_construct(**values)


def contradictions(settings: Settings) -> Iterator[Violation]:
    """The broken rules between settings, with paths from the root of the file, the most specific first."""
    for name in GROUPS:
        if name not in _RULED:
            continue
        for violation in group(settings, name).violations():
            keys: list[Key] = [(name, str(path[0])) for path in violation.paths]
            keys.sort(key=lambda key: -settings[key].rank)
            layers = [settings[key].layer for key in keys]
            others = " and ".join(
                f"{key[-1]} comes from {layer.name}"
                for key, layer in zip(keys, layers, strict=True)
                if layer != layers[0]
            )
            yield Violation(
                paths=tuple(layer.path + key for layer, key in zip(layers, keys, strict=True)),
                message=violation.message,
                hint=f"{others}, set it here too" if others else "",
            )


def _clamp_default(settings: Settings) -> None:
    """Move `k.default` to a bound that a more specific layer set beyond it."""
    default: Any = settings["k", "default"]
    for name, sign in (("min", 1), ("max", -1)):
        bound: Any = settings["k", name]
        if bound.rank > default.rank and sign * (bound.value - default.value) > 0:
            note = f"clamped: {default.value} is {_BEYOND[name]} the k.{name} of {bound.layer.name}"
            settings["k", "default"] = default._replace(value=bound.value, note=note)


def _values(model: PolicyModel, *, only_set: bool) -> Iterator[tuple[Key, object]]:
    """The layered settings a model holds. An override's None is inherited, hence no value."""
    for name in SINGLE:
        value = getattr(model, name, None)
        if value is not None and not (only_set and name not in model.model_fields_set):
            yield (name,), value
    for name, fields in _FIELDS.items():
        held: PolicyModel | None = getattr(model, name, None)
        if held is None:
            continue
        for key, field in fields.items():
            value = getattr(held, field)
            if value is not None and not (only_set and field not in held.model_fields_set):
                yield (name, key), value


_DEFAULTS: Final = Layer((), "defaults", dict(_values(Spec(), only_set=False)) | {("prior_alpha",): None})
