"""A policy as layers, merged key by key: every setting remembers which layer it came from.

A layer may move only `k.max` or `k.min`: a `k.default` that it inherits follows into the span. What one layer
says itself, or says against a layer below, must be consistent. A mode of spec that does not choose per
request (shadow, always_vanilla, always_speculative) holds whatever the layers above say: the kill switch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from policies.base import CHOOSING_MODES, PolicyModel
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
from policies.overrides import SegmentOverride
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
RULED: Final = frozenset(
    name for name, form in GROUPS.items() if form.violations is not PolicyModel.violations
)
"""The groups whose settings are compared with each other, across layers."""
_MODE: Final = ("mode",)
_BEYOND: Final = {"min": "below", "max": "above"}


class Layer(NamedTuple):
    """The settings that one place of a policy file makes: `path` in the file, `name` in explanations.

    `notes` tell of settings that were meant otherwise than they are taken, or not taken at all.
    """

    path: Path
    name: str
    values: Mapping[Key, object]
    notes: Mapping[Key, str] = MappingProxyType({})


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
        self.policy = policy
        self._spec = policy.spec
        self._read: dict[Path, Layer] = {}

    def select(
        self,
        tenant: str | None,
        task: str | None,
        schedules: tuple[int, ...] = (),
        *,
        segment: str | None = None,
    ) -> list[Layer]:
        """The layers that concern a tenant and a task while these schedules apply, the most specific last.

        A tenant that the policy names brings its own segment; `segment` is that of one it does not name.
        """
        return [
            self._read.get(path) or self._layer(path, model)
            for path, model in self._models(tenant, task, schedules, segment)
        ]

    def _models(
        self, tenant: str | None, task: str | None, schedules: tuple[int, ...], segment: str | None
    ) -> Iterator[tuple[Path, PolicyModel]]:
        spec = self._spec
        yield ("spec",), spec
        for index in schedules:
            yield ("spec", "schedules", index), spec.schedules[index]
        if task is not None and (for_task := spec.tasks.get(task)) is not None:
            yield ("spec", "tasks", task), for_task
        own = None if tenant is None else spec.tenants.get(tenant)
        segment = segment if own is None else own.segment
        if segment is not None and (shared := spec.segments.get(segment)) is not None:
            yield from _with_task(("spec", "segments", segment), shared, task)
        if tenant is not None and own is not None:
            yield from _with_task(("spec", "tenants", tenant), own, task)

    def _layer(self, path: Path, model: PolicyModel) -> Layer:
        match path:
            case ("spec", "schedules", int(index)):
                named: Path = ("schedules", self._spec.schedules[index].name)
            case _:
                named = path[1:]
        layer = Layer(path, format_path(named) or "spec", dict(_values(model, only_set=True)))
        return self._read.setdefault(path, layer)


def _with_task(path: Path, model: SegmentOverride, task: str | None) -> Iterator[tuple[Path, PolicyModel]]:
    yield path, model
    if task is not None and (for_task := model.tasks.get(task)) is not None:
        yield (*path, "tasks", task), for_task


def merged(layers: list[Layer]) -> Settings:
    """Every setting, in the order of the schema, from the last of the layers that makes it."""
    settings = {key: Setting(value, 0, _DEFAULTS) for key, value in _DEFAULTS.values.items()}
    for rank, layer in enumerate(layers, start=1):
        for key, value in layer.values.items():
            note = layer.notes.get(key, "")
            if key == _MODE and rank > 1 and settings[key].value not in CHOOSING_MODES:
                note = f"holds for everyone: {value} of {layer.name} does not count"
                settings[key] = settings[key]._replace(note=note)
            else:
                settings[key] = Setting(value, rank, layer, note)
        for key in layer.notes.keys() - layer.values.keys():
            settings[key] = settings[key]._replace(note=layer.notes[key])
    _clamp_default(settings)
    return settings


def group(settings: Settings, name: str) -> PolicyModel:
    """The settings of one group as its model."""
    # Not validated again: every value was validated in its layer, and durations are seconds by now.
    values: dict[str, Any] = {key: settings[name, key].value for key in _FIELDS[name]}
    return GROUPS[name].model_construct(**values)


def written(settings: Settings, key: Key) -> object:
    """A setting as a file would have it: `10m`, not 600.0."""
    if len(key) == 1:
        return settings[key].value
    return group(settings, key[0]).model_dump(mode="json", by_alias=True)[key[1]]


def contradictions(settings: Settings) -> Iterator[Violation]:
    """The broken rules between settings, with paths from the root of the file, the most specific first."""
    for name in GROUPS:
        if name not in RULED:
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
