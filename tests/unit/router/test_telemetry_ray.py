"""What reaches Ray's metrics of a registry, through a fake of `ray.util.metrics`."""

from collections import Counter as Tally
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from router.telemetry_ray import ROUTER_LABEL, RayMirror

pytestmark = pytest.mark.unit


class Told:
    """What was told to one of Ray's metrics, with the arguments it was made of."""

    def __init__(self, kind: str, name: str, **made: Any) -> None:
        self.kind, self.name, self.made = kind, name, made
        self.totals: Tally[tuple[str, ...]] = Tally()
        self.values: dict[tuple[str, ...], float] = {}
        self.observed: list[float] = []

    def _key(self, tags: dict[str, str]) -> tuple[str, ...]:
        assert set(tags) == set(self.made["tag_keys"])
        return tuple(tags[name] for name in self.made["tag_keys"])

    def inc(self, value: float, tags: dict[str, str]) -> None:
        assert value > 0, "Ray refuses it"
        self.totals[self._key(tags)] += value  # type: ignore[assignment]  # a Counter adds floats, too

    def set(self, value: float, tags: dict[str, str]) -> None:
        self.values[self._key(tags)] = value

    def observe(self, value: float, tags: dict[str, str]) -> None:
        self._key(tags)
        self.observed.append(value)


class Ray:
    """Every metric that was made."""

    def __init__(self) -> None:
        self.made: dict[str, Told] = {}
        self.instruments = SimpleNamespace(
            **{kind: lambda name, _kind=kind, **made: self.make(_kind, name, **made) for kind in KINDS}
        )

    def make(self, kind: str, name: str, **made: Any) -> Told:
        assert name not in self.made, "made twice"
        self.made[name] = Told(kind, name, **made)
        return self.made[name]


KINDS = ("Counter", "Gauge", "Histogram")


def mirrored(registry: CollectorRegistry, mirror: RayMirror) -> None:
    for family in registry.collect():
        mirror.mirror(family)


def test_counters_start_at_next_to_nothing_and_move_by_what_was_counted() -> None:
    """So that the first event after the start has an increase; each router under its own name."""
    registry, ray = CollectorRegistry(), Ray()
    events = Counter("specroute_drift_events", "Events.", ("kind",), registry=registry)
    events.labels("drafter_rot")
    mirror = RayMirror(registry, "r1", ray.instruments)
    mirrored(registry, mirror)
    told = ray.made["specroute_drift_events"]
    assert told.made["tag_keys"] == ("kind", ROUTER_LABEL)
    assert 0 < told.totals["drafter_rot", "r1"] < 1e-300
    events.labels("drafter_rot").inc(2)
    mirrored(registry, mirror)
    mirrored(registry, mirror)
    assert told.totals["drafter_rot", "r1"] == 2


def test_gauges_are_set_again_and_again() -> None:
    """Ray forgets one that is not, so one that has ended here ends there."""
    registry, ray = CollectorRegistry(), Ray()
    alpha = Gauge("specroute_alpha", "Alpha.", ("task",), registry=registry)
    mirror = RayMirror(registry, "r1", ray.instruments)
    alpha.labels("code").set(0.7)
    mirrored(registry, mirror)
    values = ray.made["specroute_alpha"].values
    assert values == {("code", "r1"): 0.7}
    values.clear()
    mirrored(registry, mirror)
    assert values == {("code", "r1"): 0.7}
    values.clear()
    alpha.clear()
    mirrored(registry, mirror)
    assert values == {}


def test_histograms_keep_their_buckets() -> None:
    """Every observation reaches Ray once, in the bucket where it was; bounds Ray would refuse are left out."""
    registry, ray = CollectorRegistry(), Ray()
    k = Histogram("specroute_k", "k.", buckets=(0, 1, 2, 4), registry=registry)
    mirror = RayMirror(registry, "r1", ray.instruments)
    for value in (0, 1, 3, 4, 9):
        k.observe(value)
    mirrored(registry, mirror)
    mirrored(registry, mirror)
    told = ray.made["specroute_k"]
    assert told.made["boundaries"] == [1, 2, 4]
    assert sorted(told.observed) == [0, 0.5, 3, 3, 8]
    k.observe(1.5)
    mirrored(registry, mirror)
    assert told.observed[5:] == [1.5]


async def test_it_goes_on_after_a_failure() -> None:
    """A collector that raises once must not end the mirror."""
    registry, ray = CollectorRegistry(), Ray()
    gauge = Gauge("specroute_store_up", "Up.", registry=registry)
    answers = iter([ZeroDivisionError(), 1.0, 1.0])
    rests: list[float] = []

    def ask() -> float:
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return found

    gauge.set_function(ask)

    async def sleep(seconds: float) -> None:
        rests.append(seconds)
        if rests.count(5.0) == 2:
            raise StopAsyncIteration

    with pytest.raises((StopAsyncIteration, RuntimeError)):
        await RayMirror(registry, "r1", ray.instruments).run(5.0, sleep)
    assert ray.made["specroute_store_up"].values == {("r1",): 1.0}
