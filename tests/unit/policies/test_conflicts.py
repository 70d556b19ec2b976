"""Contradictions between the layers of a policy."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from policies.conflicts import conflicts
from policies.resolve import resolve
from policies.schema import RoutingPolicy

pytestmark = pytest.mark.unit

PEAK = dt.datetime.fromisoformat("2026-11-23T09:00+01:00")


def policy(**spec: Any) -> RoutingPolicy:
    return RoutingPolicy.model_validate(
        {"apiVersion": "specroute/v1", "kind": "RoutingPolicy", "metadata": {"name": "test"}, "spec": spec}
    )


CROOKED = st.fixed_dictionaries(
    {},
    optional={
        "threshold": st.fixed_dictionaries(
            {},
            optional={
                "enable_above": st.sampled_from([0.3, 0.6, 0.9]),
                "disable_below": st.sampled_from([0.2, 0.5, 0.8]),
            },
        ),
        "k": st.fixed_dictionaries(
            {}, optional={key: st.sampled_from([1, 3, 5]) for key in ("min", "default", "max")}
        ),
    },
)


@settings(max_examples=300, deadline=None)
@example(spec={}, schedules=[{"k": {"max": 3}}, {"k": {"min": 5}}], layers=[{}] * 5)
@given(
    spec=CROOKED,
    schedules=st.lists(CROOKED, max_size=3),
    layers=st.lists(CROOKED, min_size=5, max_size=5),
)
def test_a_policy_without_conflicts_never_contradicts_itself(
    spec: dict[str, Any],
    schedules: list[dict[str, Any]],
    layers: list[dict[str, Any]],
) -> None:
    """Whichever of its schedules apply together, though only pairs of them were checked."""
    task, segment, segment_task, tenant, own_task = layers
    always = {"from": "00:00", "to": "24:00"}

    def over(*indices: int) -> RoutingPolicy:
        return policy(
            **spec,
            schedules=[{"name": f"s{index}", "when": always, **schedules[index]} for index in indices],
            tasks={"code": task},
            segments={"premium": {**segment, "tasks": {"code": segment_task}}},
            tenants={
                "acme": {"segment": "premium", **tenant, "tasks": {"code": own_task}},
                "globex": {"segment": "premium"},
            },
        )

    try:
        whole = over(*range(len(schedules)))
    except ValueError:
        return  # a section of spec contradicts itself
    if conflicts(whole):
        return
    for count in range(len(schedules) + 1):
        for indices in itertools.combinations(range(len(schedules)), count):
            for who, what in itertools.product(("acme", "globex", "x"), ("code", "qa")):
                resolve(over(*indices), tenant=who, task=what, at=PEAK)


def test_a_segment_is_checked_before_it_has_tenants() -> None:
    """The tenant that joins it later must find it in order."""
    crooked = policy(tasks={"code": {"k": {"max": 2}}}, segments={"premium": {"k": {"min": 3}}})
    (conflict,) = conflicts(crooked)
    assert conflict.paths[0] == ("spec", "segments", "premium", "k", "min")


def test_a_conflict_of_schedules_that_never_meet_is_none() -> None:
    """Day and night may contradict each other."""
    day = {"name": "day", "when": {"from": "06:00", "to": "20:00"}, "k": {"max": 3}}
    night = {"name": "night", "when": {"from": "20:00", "to": "06:00"}, "k": {"min": 5}}
    assert conflicts(policy(schedules=[day, night])) == []
    night["when"] = {"from": "19:00", "to": "06:00"}
    (conflict,) = conflicts(policy(schedules=[day, night]))
    assert conflict.paths[0] == ("spec", "schedules", 1, "k", "min")
