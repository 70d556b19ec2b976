"""What a tenant sets for itself, within the bounds that the operator's `self_service` gives it.

Preferences are checked when they are set (`parse_preferences`, `check_preferences`). A newer policy may allow
less: then they are moved into its bounds or do not count, and are never an error where requests are served.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from policies.base import Fraction, LayeredMode, PolicyModel, TaskName
from policies.layers import Key, Layer, Layers, contradictions, merged
from policies.overrides import Bounds, SelfService
from policies.problems import Path, Violation, choices_hint, format_path
from policies.schema import RoutingPolicy
from policies.translate import translated

_ROOT: Final = "preferences"
_MODE: Final[Key] = ("mode",)


class TenantBand(PolicyModel):
    """A tenant's own band; a value that is absent is the policy's."""

    enable_above: Fraction | None = None
    """Speculate from this value on."""
    disable_below: Fraction | None = None
    """Stop speculating below this value."""

    def violations(self) -> Sequence[Violation]:
        """disable_below must not exceed enable_above."""
        if self.enable_above is None or self.disable_below is None or self.disable_below <= self.enable_above:
            return ()
        message = f"disable_below {self.disable_below:g} is above enable_above {self.enable_above:g}"
        return [Violation((("disable_below",), ("enable_above",)), message)]


class TaskPreferences(PolicyModel):
    """What a tenant sets for one of its tasks, or for all of them."""

    threshold: TenantBand | None = None
    """Band that switches speculation in mode threshold."""
    mode: LayeredMode | None = None
    """How routes are chosen."""


class Preferences(TaskPreferences):
    """What a tenant sets for itself."""

    tasks: Mapping[TaskName, TaskPreferences] = {}
    """What differs for one task."""

    def written(self) -> dict[str, Any]:
        """What was set, as `parse_preferences` reads it."""
        return self.model_dump(mode="json", exclude_none=True, exclude_defaults=True)

    def __hash__(self) -> int:
        return hash((self.threshold, self.mode, frozenset(self.tasks.items())))


class PreferencesError(ValueError):
    """Preferences that cannot be used; its text is one line per problem."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__("\n".join(map(describe, self.violations)))


def describe(violation: Violation) -> str:
    """A problem of preferences on one line: its path, what is wrong, what to do."""
    what = f"{violation.message}; {violation.hint}" if violation.hint else violation.message
    where = format_path(violation.paths[0])
    return f"{where}: {what}" if where else what


def parse_preferences(values: object) -> Preferences:
    """The preferences that decoded JSON describes.

    Raises:
        PreferencesError: With every problem found.
    """
    try:
        return Preferences.model_validate(values)
    except ValidationError as error:
        found = [violation for details in error.errors() for violation in translated(details, Preferences)]
        raise PreferencesError(found) from None


def self_service(policy: RoutingPolicy, tenant: str) -> SelfService | None:
    """What a tenant may set: its own `self_service`, or else that of its segment, or nothing."""
    own = policy.spec.tenants.get(tenant)
    if own is None:
        return None
    segment = policy.spec.segments.get(own.segment or "")
    return segment.self_service if own.self_service is None and segment is not None else own.self_service


def check_preferences(policy: RoutingPolicy, tenant: str, preferences: Preferences) -> list[Violation]:
    """What the policy does not let this tenant set; paths start at the root of the preferences.

    Besides what `self_service` says, a band must not be upside down once the policy has filled in what the
    tenant leaves open, for any task and at any time.
    """
    allowed = self_service(policy, tenant)
    if allowed is None:
        if not preferences.written():
            return []
        return [
            Violation(((),), "this tenant may set nothing for itself", "ask the operator for self_service")
        ]
    found: list[Violation] = []
    for path, part in _parts(preferences):
        if path and path[-1] not in (known := policy.spec.known_tasks):
            found.append(Violation((path,), "unknown task", choices_hint(path[-1], known)))
        found += _disallowed(path, part, allowed)
    return found or list(_crossings(policy, tenant, preferences))


def own_layers(
    below: list[Layer], preferences: Preferences, *, allowed: SelfService | None, task: str | None
) -> list[Layer]:
    """The layers of a tenant's preferences on those of the policy, moved into what the policy allows now.

    A value beyond its bounds counts as the bound, one that is not the tenant's to set does not count, and one
    that would turn the band upside down stops at the policy's value. The layers' notes tell.
    """
    own = [
        _allowed_layer(path, part, allowed or SelfService())
        for path, part in _parts(preferences)
        if path in ((), ("tasks", task))
    ]
    settings = merged(below + own)
    upper, lower = settings["threshold", "enable_above"], settings["threshold", "disable_below"]
    enable_above: Any = upper.value
    disable_below: Any = lower.value
    first = len(below) + 1
    if disable_below > enable_above and max(upper.rank, lower.rank) >= first:
        key, moved, other = ("enable_above", upper, lower)
        if lower.rank > upper.rank:
            key, moved, other = ("disable_below", lower, upper)
        layer = own[moved.rank - first]
        note = f"moved: the tenant's own {moved.value:g} would turn the band upside down"
        own[moved.rank - first] = layer._replace(
            values={**layer.values, ("threshold", key): other.value},
            notes={**layer.notes, ("threshold", key): note},
        )
    return own


def _parts(preferences: Preferences) -> Iterator[tuple[Path, TaskPreferences]]:
    yield (), preferences
    for task, part in preferences.tasks.items():
        yield ("tasks", task), part


def _thresholds(part: TaskPreferences) -> Iterator[tuple[str, float]]:
    if part.threshold is not None:
        for key in TenantBand.model_fields:
            if (value := getattr(part.threshold, key)) is not None:
                yield key, value


def _disallowed(path: Path, part: TaskPreferences, allowed: SelfService) -> Iterator[Violation]:
    bounds = allowed.threshold
    for key, value in _thresholds(part):
        at = ((*path, "threshold", key),)
        if bounds is None:
            yield Violation(at, "this tenant may not set thresholds", "ask the operator for self_service")
        elif not bounds.min <= value <= bounds.max:
            yield Violation(at, f"must lie between {bounds.min:g} and {bounds.max:g}, got {value:g}")
    if part.mode is not None and part.mode not in allowed.modes:
        hint = (
            f"allowed: {', '.join(allowed.modes)}" if allowed.modes else "ask the operator for self_service"
        )
        yield Violation(((*path, "mode"),), f"this tenant may not choose the mode {part.mode}", hint)


def _crossings(policy: RoutingPolicy, tenant: str, preferences: Preferences) -> Iterator[Violation]:
    tasks = dict.fromkeys((*policy.spec.tasks_of(tenant), *preferences.tasks))
    layers = Layers(policy)
    seen: set[tuple[Path, ...]] = set()
    for task in (None, *tasks):
        for schedules in [(), *((index,) for index in range(len(policy.spec.schedules)))]:
            selected = layers.select(tenant, task, schedules)
            selected += [
                Layer((_ROOT, *path), format_path((_ROOT, *path)), dict(_values(part)))
                for path, part in _parts(preferences)
                if path in ((), ("tasks", task))
            ]
            for violation in contradictions(merged(selected)):
                if violation.paths not in seen and violation.paths[0][0] == _ROOT:
                    seen.add(violation.paths)
                    paths = tuple(path[1:] for path in violation.paths if path[0] == _ROOT)
                    yield Violation(paths, violation.message, violation.hint)


def _values(part: TaskPreferences) -> Iterator[tuple[Key, object]]:
    for key, value in _thresholds(part):
        yield ("threshold", key), value
    if part.mode is not None:
        yield _MODE, part.mode


def _allowed_layer(path: Path, part: TaskPreferences, allowed: SelfService) -> Layer:
    values: dict[Key, object] = {}
    notes: dict[Key, str] = {}
    for key, value in _thresholds(part):
        _take_threshold(("threshold", key), value, allowed.threshold, values, notes)
    if part.mode is not None and part.mode in allowed.modes:
        values[_MODE] = part.mode
    elif part.mode is not None:
        notes[_MODE] = f"the tenant's own {part.mode} does not count: it may not choose that mode"
    named = (_ROOT, *path)
    return Layer(named, format_path(named), values, notes)


def _take_threshold(
    key: Key, value: float, bounds: Bounds | None, values: dict[Key, object], notes: dict[Key, str]
) -> None:
    if bounds is None:
        notes[key] = f"the tenant's own {value:g} does not count: it may not set thresholds"
        return
    values[key] = within = min(max(value, bounds.min), bounds.max)
    if within != value:
        notes[key] = f"clamped: the tenant's own {value:g} is beyond {bounds.min:g} to {bounds.max:g}"
