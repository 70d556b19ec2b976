"""What changes for whom: each change once, where it is broadest, and nothing that misleads."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.conflicts import conflicts
from policies.diff import Difference, Where, differences
from policies.resolve import applying, explain
from policies.schema import RoutingPolicy

pytestmark = pytest.mark.unit


def policy(name: str = "test", **spec: Any) -> RoutingPolicy:
    return RoutingPolicy.model_validate(
        {"apiVersion": "specroute/v1", "kind": "RoutingPolicy", "metadata": {"name": name}, "spec": spec}
    )


def told(old: dict[str, Any], new: dict[str, Any]) -> list[Difference]:
    return differences(policy(**old), policy(**new))


EVERYONE = Where()
PEAK = {"name": "peak", "when": {"from": "09:00", "to": "17:00", "days": "mon-fri"}, "k": {"max": 5}}


def test_policies_that_serve_alike_do_not_differ() -> None:
    """Saying a default, an unused task, and what somebody more specific says anyway changes nothing."""
    assert (
        told({}, {"k": {"max": 8}, "tasks": {"code": {}}, "segments": {"premium": {"k": {"max": 3}}}}) == []
    )


def test_a_change_for_everyone_is_told_once_with_its_exceptions() -> None:
    """Not again for every task and tenant, and those who keep their own value are named."""
    named: dict[str, Any] = {
        "tasks": {"code": {"k": {"max": 7}}, "sql": {"prior_alpha": 0.8}},
        "tenants": {"acme": {"k": {"max": 6}}, "globex": {"k": {"max": 6}}, "hooli": {"exploration": {}}},
    }
    assert told(named, {"k": {"max": 5}, **named}) == [
        Difference(EVERYONE, "k.max", 8, 5, (Where(task="code"), Where(tenants=("acme", "globex"))))
    ]


def test_a_change_is_told_for_the_narrowest_group_it_is_about() -> None:
    """A task, a segment, a tenant, a task of either; values as files write them, what moved along too."""
    old: dict[str, Any] = {"segments": {"premium": {}}, "tenants": {"acme": {"segment": "premium"}}}
    new: dict[str, Any] = {
        "tasks": {"code": {"k": {"max": 3}}},
        "segments": {"premium": {"limits": {"deadline": "10s"}, "tasks": {"sql": {"mode": "threshold"}}}},
        "tenants": {"acme": {"segment": "premium", "tasks": {"qa": {"objective": {"class": "batch"}}}}},
    }
    assert told(old, new) == [
        Difference(Where(task="code"), "k.max", 8, 3),
        Difference(Where(task="code"), "k.default", 4, 3),
        Difference(Where(segment="premium"), "limits.deadline", "2m", "10s"),
        Difference(Where(segment="premium", task="sql"), "mode", "adaptive", "threshold"),
        Difference(Where(tenants=("acme",), task="qa"), "objective.class", "interactive", "batch"),
    ]


def test_tenants_who_change_alike_are_told_together() -> None:
    """A thousand of them make one line."""
    names = [f"t{number}" for number in range(1000)]
    old, new = ({"tenants": {name: {"k": {"max": k}} for name in names}} for k in (5, 6))
    assert told(old, new) == [Difference(Where(tenants=tuple(names)), "k.max", 5, 6)]


def test_a_tenant_that_comes_goes_or_moves_is_compared_with_what_it_had() -> None:
    """As one that was not named, or one of its former segment."""
    premium = {"segments": {"premium": {"k": {"max": 6}}}}
    joined = {**premium, "tenants": {"acme": {"segment": "premium"}}}
    acme = Where(tenants=("acme",))
    came = {row.path: row for row in told(premium, joined)}
    assert came == {
        "k.max": Difference(acme, "k.max", 8, 6),
        "segment": Difference(acme, "segment", None, "premium"),
    }
    left = {row.path: row[2:4] for row in told(joined, premium)}
    assert left == {"k.max": (6, 8), "segment": ("premium", None)}


def test_hours_are_told_where_they_differ() -> None:
    """What a schedule says is no change outside it, and a longer window is one only where it grew."""
    longer = {**PEAK, "when": {**PEAK["when"], "to": "18:00"}}
    assert told({"schedules": [PEAK]}, {"schedules": [longer]}) == [
        Difference(Where(hours=((), ("peak",))), "k.max", 8, 5)
    ]
    lower = {**PEAK, "k": {"max": 4}}
    code = {"tasks": {"code": {"k": {"max": 8}}}}
    assert told({"schedules": [PEAK], **code}, {"schedules": [lower], "k": {"max": 7}, **code}) == [
        Difference(EVERYONE, "k.max", 8, 7, (Where(task="code"),)),
        Difference(
            Where(hours=(("peak",), ("peak",))),
            "k.max",
            5,
            4,
            (Where(task="code", hours=(("peak",), ("peak",))),),
        ),
    ]


def test_what_no_hour_ever_shows_is_no_change() -> None:
    """Where schedules cover the week, spec's own value is nobody's."""
    both = [
        {"name": "day", "when": {"from": "06:00", "to": "18:00"}, "k": {"max": 5}},
        {"name": "night", "when": {"from": "18:00", "to": "06:00"}, "k": {"max": 5}},
    ]
    assert told({"schedules": both}, {"schedules": both, "k": {"max": 6}}) == []


def test_what_is_no_setting_of_a_layer_is_told_too() -> None:
    """Names, custom tasks, the canary, and what tenants may set."""
    old = policy("one", tenants={"acme": {"self_service": {"threshold": {"min": 0.5}}}})
    new = policy(
        "two",
        custom_tasks=[{"name": "poetry", "when": {"keywords_any": ["haiku"]}}],
        canary={"policy": "next.yaml", "share": "5%"},
        tenants={"acme": {"self_service": {"modes": ["adaptive"]}}},
    )
    paths = {row.path: row for row in differences(old, new)}
    assert paths.keys() == {
        "metadata.name",
        "custom_tasks.poetry",
        "canary.policy",
        "canary.share",
        "canary.by",
        "canary.stop",
        "self_service.threshold",
        "self_service.modes",
    }
    assert paths["self_service.modes"] == Difference(
        Where(tenants=("acme",)), "self_service.modes", None, ["adaptive"]
    )


OVERRIDES = st.fixed_dictionaries(
    {},
    optional={
        "k": st.fixed_dictionaries({}, optional={"max": st.sampled_from([3, 6, 8]), "default": st.just(3)}),
        "mode": st.sampled_from(["adaptive", "threshold"]),
    },
)
WINDOWS = st.sampled_from(
    [
        {"from": "09:00", "to": "17:00", "tz": "Europe/Berlin"},
        {"from": "12:00", "to": "20:00", "tz": "UTC", "days": "mon-fri"},
        {"from": "00:00", "to": "24:00"},
    ]
)


@st.composite
def policies(draw: st.DrawFn) -> RoutingPolicy:
    names = draw(st.lists(st.sampled_from(["peak", "noon", "rest"]), max_size=2, unique=True))
    return policy(
        **draw(OVERRIDES),
        schedules=[{"name": name, "when": draw(WINDOWS), **draw(OVERRIDES)} for name in names],
        tasks={"code": draw(OVERRIDES)},
        segments={"premium": {**draw(OVERRIDES), "tasks": {"code": draw(OVERRIDES)}}},
        tenants={
            name: {
                **draw(OVERRIDES),
                "tasks": {"sql": draw(OVERRIDES)},
                **({"segment": "premium"} if draw(st.booleans()) else {}),
            }
            for name in ("acme", "globex")
        },
    )


def read(rows: list[Difference], who: Where, path: str) -> tuple[object, object] | None:
    """What somebody who reads all of it expects to change: the most specific of what is told holds."""

    def rank(where: Where) -> tuple[int, bool]:
        scope = 4 if where.tenants else 2 if where.segment else 0
        return scope + (where.task is not None), where.hours is not None

    def concerns(where: Where) -> bool:
        return (
            (not where.tenants or who.tenants[0] in where.tenants)
            and where.segment in {None, who.segment}
            and where.task in {None, who.task}
            and where.hours in {None, who.hours}
        )

    found: list[tuple[tuple[int, bool], tuple[object, object] | None]] = []
    for row in rows:
        if row.path == path and concerns(row.where):
            found.append((rank(row.where), (row.before, row.after)))
            found += [(rank(where), None) for where in row.exceptions if concerns(where)]
    return max(found, key=lambda each: each[0])[1] if found else None


MOMENTS = [
    dt.datetime.fromisoformat(f"2026-01-{day}:30+00:00") for day in ("12T10", "12T18", "17T10", "17T03")
]


@settings(max_examples=150, deadline=None)
@given(old=policies(), new=policies())
def test_what_is_told_is_the_whole_truth(old: RoutingPolicy, new: RoutingPolicy) -> None:
    """Whoever reads it knows what changes for any tenant and task at any time, and what does not."""
    if conflicts(old) or conflicts(new):
        return
    rows = differences(old, new)
    for moment in MOMENTS:
        before, after = (
            tuple(each.spec.schedules[index].name for index in applying(each, moment)) for each in (old, new)
        )
        for tenant in ("acme", "globex", "unnamed"):
            own = new.spec.tenants.get(tenant)
            for task in ("code", "sql", "qa"):
                who = Where(own.segment if own else None, (tenant,), task, (before, after))
                both = [
                    {row.path: row.value for row in explain(each, tenant, task, moment)}
                    for each in (old, new)
                ]
                for path, value in both[0].items():
                    change = None if value == both[1][path] else (value, both[1][path])
                    assert read(rows, who, path) == change, (who, path)
