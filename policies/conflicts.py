"""Settings that contradict each other once the layers of a policy are merged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from policies.layers import RULED, Key, Layer, Layers, contradictions, merged
from policies.problems import MAX_PROBLEMS, Path, Violation
from policies.schema import RoutingPolicy, Spec
from policies.timetable import timetable

MAX_COMPARISONS: Final = 200_000
"""Combinations of layers that differ, hence seconds that a file may take."""

_Content = tuple[tuple[Key, object], ...]


def conflicts(policy: RoutingPolicy) -> list[Violation]:
    """Contradictions that appear only when layers are merged, once each, for every named combination.

    Paths start at the root of the file; the first one is the most specific key involved. Names whose layers
    say the same are looked at once, unless there is something to tell.
    """
    search = _Search(policy)
    for named in _all_named(policy.spec):
        search.look(named)
    for pair in timetable(policy).overlaps():
        search.compare(Named(), pair)
    return list(search.found.values())[: MAX_PROBLEMS + 1]


class _Search:
    def __init__(self, policy: RoutingPolicy) -> None:
        self.found: dict[tuple[Path, ...], Violation] = {}
        self._layers = Layers(policy)
        self._contents: dict[Path, _Content] = {}
        self._in_order: set[tuple[_Content, ...]] = set()
        self._comparisons = 0
        ruled = (index for index in range(len(policy.spec.schedules)) if self._ruled(Named(), (index,))[1:])
        self._schedules = [(), *((index,) for index in ruled)]

    def look(self, named: Named) -> None:
        """Compare the layers of these names, without schedules and with each."""
        contents = self._ruled(named, ())
        if contents in self._in_order or len(self.found) > MAX_PROBLEMS:
            return
        if sum(self.compare(named, schedules) for schedules in self._schedules) == 0:
            self._in_order.add(contents)

    def compare(self, named: Named, schedules: tuple[int, ...]) -> bool:
        """Whether anything contradicts itself in this combination."""
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            message = f"more than {MAX_COMPARISONS} different combinations of tenants, tasks and schedules"
            path: Path = ("spec", "tenants")
            self.found.setdefault((path,), Violation((path,), message, "use segments, or fewer schedules"))
            return True
        violations = list(contradictions(merged(self._select(named, schedules))))
        for violation in violations:
            self.found.setdefault(violation.paths, violation)
        return bool(violations)

    def _ruled(self, named: Named, schedules: tuple[int, ...]) -> tuple[_Content, ...]:
        """What the layers say that rules compare; those that say nothing of it left out, but for spec."""
        first, *others = [self._content(layer) for layer in self._select(named, schedules)]
        return (first, *filter(None, others))

    def _content(self, layer: Layer) -> _Content:
        content = self._contents.get(layer.path)
        if content is None:
            content = tuple((key, value) for key, value in layer.values.items() if key[0] in RULED)
            self._contents[layer.path] = content
        return content

    def _select(self, named: Named, schedules: tuple[int, ...]) -> list[Layer]:
        return self._layers.select(named.tenant, named.task, schedules, segment=named.segment)


class Named(NamedTuple):
    """A combination of names to look at; a segment stands for tenants of it that are not named."""

    tenant: str | None = None
    task: str | None = None
    segment: str | None = None


def combinations(policy: RoutingPolicy) -> Iterator[tuple[Named, tuple[int, ...]]]:
    """Tenants, segments, tasks and schedules that together show every contradiction there can be.

    A rule compares two keys, hence two layers. What two schedules say against each other shows without
    tenants and tasks, which could only hide it. What one says against a tenant or task shows without the
    others. A segment is looked at without its tenants, too: it may have none yet.
    """
    alone = [(), *((index,) for index in range(len(policy.spec.schedules)))]
    for named in _all_named(policy.spec):
        for schedules in alone:
            yield named, schedules
    for pair in timetable(policy).overlaps():
        yield Named(), pair


def _all_named(spec: Spec) -> Iterator[Named]:
    for task in (None, *spec.tasks):
        yield Named(task=task)
    for segment in spec.segments:
        for task in (None, *spec.tasks_of(segment=segment)):
            yield Named(task=task, segment=segment)
    for tenant in spec.tenants:
        for task in (None, *spec.tasks_of(tenant)):
            yield Named(tenant, task)
