"""Compares what two policies make of every scope at all hours, and tells each change once.

Changes are told as statements that are read like layers: of all that concern somebody, the most specific
holds. A scope gets a statement only where the broader ones would mislead, so that nothing is said twice; one
that says "as before" is an exception to the statement it contradicts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from policies.diff.hours import Hours, all_hours
from policies.diff.scopes import Scope, Scopes
from policies.layers import Layers, merged, written
from policies.preferences import self_service
from policies.problems import format_path
from policies.schema import RoutingPolicy


class Where(NamedTuple):
    """For whom and when something changes; nothing set is everyone. No `hours` are all hours.

    Attributes:
        segment: The tenants of a segment.
        tenants: These tenants.
        task: Requests of this task.
        hours: While these schedules apply, as (names in the old policy, names in the new one).
    """

    segment: str | None = None
    tenants: tuple[str, ...] = ()
    task: str | None = None
    hours: tuple[tuple[str, ...], tuple[str, ...]] | None = None


class Difference(NamedTuple):
    """One effective value that changes, as files would write it; None is unset. Not for the `exceptions`."""

    where: Where
    path: str
    before: object
    after: object
    exceptions: tuple[Where, ...] = ()


class _Change(NamedTuple):
    before: object
    after: object


class _Place(NamedTuple):
    scope: Scope
    hours: Hours


@dataclass(slots=True)
class _Statement:
    change: _Change | None
    exceptions: list[_Place] = field(default_factory=list)


def differences(old: RoutingPolicy, new: RoutingPolicy) -> list[Difference]:
    """What changes for whom, the broadest first; nothing where every request is served as before."""
    return _Comparison(old, new).told()


class _Comparison:
    def __init__(self, old: RoutingPolicy, new: RoutingPolicy) -> None:
        self._old, self._new = old, new
        self._layers = Layers(old), Layers(new)
        self._scopes = Scopes(old, new)
        self._usual, *self._other_hours = all_hours(old, new)
        self._statements: dict[str, dict[_Place, _Statement]] = {}

    def told(self) -> list[Difference]:
        for hours in (self._usual, *self._other_hours):
            for scope in self._scopes:
                self._compare(_Place(scope, hours))
        return list(self._gathered())

    def _compare(self, place: _Place) -> None:
        """Tells what nobody would expect from what was told of broader scopes."""
        changes = self._changes(place)
        before = list(self._before(place))
        for path in {**self._statements, **changes}:
            told = self._statements.setdefault(path, {})
            nearest = next((told[other] for other in before if other in told), None)
            change = changes.get(path)
            if change != (nearest.change if nearest is not None else None):
                told[place] = _Statement(change)
            elif change is None and nearest is not None and place.hours != self._usual:
                # Something about all hours outranks what is told of everyone at these hours: say so there.
                nearest = self._misleading(place, told)
            if change is None and nearest is not None and nearest.change is not None:
                nearest.exceptions.append(place)

    def _misleading(self, place: _Place, told: Mapping[_Place, _Statement]) -> _Statement | None:
        """What is told of these hours and a broader scope, unless one between them is excepted already."""
        between = [_Place(scope, place.hours) for scope in self._scopes.broader(place.scope)]
        found = next((told[other] for other in between if other in told), None)
        return None if found is None or any(other in found.exceptions for other in between) else found

    def _before(self, place: _Place) -> Iterator[_Place]:
        """Where statements would stand that hold here too, the strongest first."""
        scope, hours = place
        if hours != self._usual:
            yield _Place(scope, self._usual)
        for broader in self._scopes.broader(scope):
            if hours != self._usual:
                yield _Place(broader, hours)
            yield _Place(broader, self._usual)

    def _changes(self, place: _Place) -> Mapping[str, _Change]:
        (segment, tenant, task), hours = place
        both = [
            layers.select(tenant, task, schedules, segment=segment)
            for layers, schedules in zip(self._layers, hours, strict=True)
        ]
        aside = [_aside(policy, place.scope) for policy in (self._old, self._new)]
        found = {path: _Change(aside[0].get(path), aside[1].get(path)) for path in {**aside[0], **aside[1]}}
        told = [[layer.values for layer in layers if layer.values] for layers in both]
        if told[0] != told[1]:
            before, after = (merged(layers) for layers in both)
            found |= {
                format_path(key): _Change(written(before, key), written(after, key))
                for key in before
                if before[key].value != after[key].value
            }
        return {path: change for path, change in found.items() if change.before != change.after}

    def _gathered(self) -> Iterator[Difference]:
        """The statements, those that say the same of several tenants as one, in the order of places."""
        rows: dict[tuple[Any, ...], list[tuple[_Place, _Statement]]] = {}
        for path, told in self._statements.items():
            for place, statement in told.items():
                if statement.change is not None:
                    scope, hours = place
                    who = "tenants" if scope.tenant is not None else scope.segment
                    key = (hours, who, scope.task, path, repr(statement.change))
                    rows.setdefault(key, []).append((place, statement))
        ordered = {place: rank for rank, place in enumerate(self._places())}
        for (*_, path, _), alike in sorted(rows.items(), key=lambda row: ordered[row[1][0][0]]):
            change = alike[0][1].change or _Change(None, None)
            exceptions = [place for _, statement in alike for place in statement.exceptions]
            where = self._where([place for place, _ in alike])
            yield Difference(where, path, *change, tuple(self._exceptions(exceptions)))

    def _places(self) -> Iterator[_Place]:
        for hours in (self._usual, *self._other_hours):
            for scope in self._scopes:
                yield _Place(scope, hours)

    def _exceptions(self, places: list[_Place]) -> Iterator[Where]:
        alike: dict[tuple[Any, ...], list[_Place]] = {}
        for place in places:
            who = "tenants" if place.scope.tenant is not None else place.scope.segment
            alike.setdefault((place.hours, who, place.scope.task), []).append(place)
        for group in alike.values():
            yield self._where(group)

    def _where(self, places: list[_Place]) -> Where:
        (segment, _, task), hours = places[0]
        tenants = tuple(place.scope.tenant for place in places if place.scope.tenant is not None)
        names = None
        if hours != self._usual:
            names = tuple(
                tuple(policy.spec.schedules[index].name for index in indices)
                for policy, indices in zip((self._old, self._new), hours, strict=True)
            )
        return Where(segment, tenants, task, names)  # type: ignore[arg-type]  # of two policies


def _aside(policy: RoutingPolicy, scope: Scope) -> dict[str, object]:
    """What concerns a scope besides the settings of layers."""
    spec = policy.spec
    found: dict[str, object] = {"metadata.name": policy.metadata.name}
    for task in spec.custom_tasks:
        found[f"custom_tasks.{task.name}"] = task.when.model_dump(mode="json") if task.when else "by hint"
    if spec.canary is not None:
        canary = spec.canary.model_dump(mode="json")
        found |= {f"canary.{key}": value for key, value in canary.items()}
    if scope.segment is not None:
        allowed = spec.segments[scope.segment].self_service
    else:
        allowed = self_service(policy, scope.tenant or "")
    if allowed is not None:
        if allowed.threshold is not None:
            found["self_service.threshold"] = allowed.threshold.model_dump(mode="json")
        if allowed.modes:
            found["self_service.modes"] = list(allowed.modes)
    own = spec.tenants.get(scope.tenant or "")
    if own is not None and own.segment is not None:
        found["segment"] = own.segment
    return found
