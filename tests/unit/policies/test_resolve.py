"""Layers: what holds for a tenant and a task, and where it came from."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from policies.resolve import PolicyTable, applying, conflicts, explain, resolve
from policies.schema import RoutingPolicy

pytestmark = pytest.mark.unit


def policy(**spec: Any) -> RoutingPolicy:
    return RoutingPolicy.model_validate(
        {"apiVersion": "specroute/v1", "kind": "RoutingPolicy", "metadata": {"name": "test"}, "spec": spec}
    )


LAYERED = policy(
    threshold={"enable_above": 0.61},
    tasks={"code": {"threshold": {"enable_above": 0.62}, "k": {"max": 7}, "prior_alpha": 0.8}},
    tenants={
        "acme": {
            "threshold": {"enable_above": 0.63},
            "limits": {"deadline": "10s"},
            "tasks": {"code": {"threshold": {"enable_above": 0.64}}},
        }
    },
)


@pytest.mark.parametrize(
    ("tenant", "task", "enable_above"),
    [("x", "qa", 0.61), ("x", "code", 0.62), ("acme", "qa", 0.63), ("acme", "code", 0.64)],
)
def test_the_most_specific_layer_holds(tenant: str, task: str, enable_above: float) -> None:
    """Spec, then the task, then the tenant, then the tenant's task."""
    assert resolve(LAYERED, tenant=tenant, task=task).threshold.enable_above == enable_above


def test_layers_add_up_key_by_key() -> None:
    """A layer that sets one key of a group inherits the others."""
    effective = resolve(LAYERED, tenant="acme", task="code")
    assert (effective.k.max, effective.k.default, effective.prior_alpha) == (7, 4, 0.8)
    assert (effective.limits.deadline, effective.limits.max_concurrency) == (10.0, 64)


def test_explain_names_the_layer_of_every_value() -> None:
    """Values read as in a file."""
    explained = {path: (value, layer) for path, value, layer, _ in explain(LAYERED, "acme", "code")}
    assert explained["threshold.enable_above"] == (0.64, "tenants.acme.tasks.code")
    assert explained["limits.deadline"] == ("10s", "tenants.acme")
    assert explained["k.max"] == (7, "tasks.code")
    assert explained["acceptance.half_life"] == ("10m", "defaults")
    assert explain(LAYERED, "x", "qa")[3].layer == "defaults"
    assert {path: layer for path, _, layer, _ in explain(LAYERED, "x", "qa")}[
        "threshold.enable_above"
    ] == "spec"


def test_an_explicit_default_belongs_to_the_layer_that_says_it() -> None:
    """Saying the default is saying something: it outranks what lies below."""
    said = policy(k={"max": 6}, tasks={"sql": {"k": {"max": 8}}})
    assert resolve(said, tenant="x", task="sql").k.max == 8


def test_unnamed_tenants_and_tasks_share_one_entry() -> None:
    """The table does not grow with the number of tenants."""
    table = PolicyTable(LAYERED)
    entries = {id(table.resolve(tenant=f"tenant-{n}", task=f"task-{n}", now_s=n)) for n in range(1000)}
    assert len(entries) == 1
    first, second = (table.resolve(tenant="acme", task="code", now_s=now_s) for now_s in (0.0, 9e9))
    assert first is second


@pytest.mark.parametrize("tenant", ["acme", "unnamed"])
@pytest.mark.parametrize("task", ["code", "qa", "no such task"])
def test_the_table_answers_as_resolve_does(tenant: str, task: str) -> None:
    """Sharing entries changes no answer."""
    found = PolicyTable(LAYERED).resolve(tenant=tenant, task=task, now_s=0.0)
    assert found == resolve(LAYERED, tenant=tenant, task=task)


def test_a_contradiction_made_by_merging_is_never_resolved() -> None:
    """A policy that bypassed parse_policy fails loudly."""
    crooked = policy(tasks={"code": {"k": {"max": 2, "default": 4}}})
    with pytest.raises(ValueError, match=r"spec\.tasks\.code\.k\.default: default 4 is above max 2"):
        resolve(crooked, tenant="x", task="code")


@pytest.mark.parametrize(
    ("spec", "expected", "layer", "note"),
    [
        pytest.param({"k": {"max": 3}}, 3, "defaults", "clamped: 4 is above the k.max of spec", id="spec"),
        pytest.param(
            {"k": {"default": 5}, "tasks": {"code": {"k": {"max": 3}}}},
            3,
            "spec",
            "clamped: 5 is above the k.max of tasks.code",
            id="task",
        ),
        pytest.param(
            {"tasks": {"code": {"k": {"default": 2}}}, "tenants": {"acme": {"k": {"min": 3}}}},
            3,
            "tasks.code",
            "clamped: 2 is below the k.min of tenants.acme",
            id="tenant, from below",
        ),
        pytest.param(
            {"tasks": {"code": {"k": {"max": 3}}}, "tenants": {"acme": {"k": {"max": 6}}}},
            4,
            "defaults",
            "",
            id="only the span that holds counts",
        ),
    ],
)
def test_an_inherited_default_follows_the_span(
    spec: dict[str, Any], expected: int, layer: str, note: str
) -> None:
    """A layer that moves only min or max takes the default along, and explain says so."""
    moved = policy(**spec)
    assert resolve(moved, tenant="acme", task="code").k.default == expected
    explained = {entry.path: entry for entry in explain(moved, "acme", "code")}
    assert explained["k.default"] == ("k.default", expected, layer, note)


def test_an_explicit_default_never_moves() -> None:
    """What the most specific layer says itself is an error when it cannot hold."""
    said = policy(tasks={"code": {"k": {"max": 3}}}, tenants={"acme": {"k": {"default": 6}}})
    with pytest.raises(ValueError, match=r"spec\.tenants\.acme\.k\.default: default 6 is above max 3"):
        resolve(said, tenant="acme", task="code")


def test_objective_and_affinity_reach_the_decision() -> None:
    """The objective layer by layer, the affinity of spec in seconds; explain shows both."""
    asked = policy(
        objective={"min_speedup": 1.2},
        affinity={"conversation": "2m"},
        tenants={"acme": {"objective": {"class": "batch", "tpot": "50ms"}}},
    )
    effective = resolve(asked, tenant="acme", task="code")
    objective = effective.objective
    assert (objective.min_speedup, objective.confidence, objective.ttft, objective.tpot) == (
        1.2,
        0.9,
        2.0,
        0.05,
    )
    assert (objective.class_, effective.affinity_s) == ("batch", 120.0)
    explained = {row.path: row[1:3] for row in explain(asked, "acme", "code")}
    assert explained["objective.class"] == ("batch", "tenants.acme")
    assert explained["objective.tpot"] == ("50ms", "tenants.acme")
    assert explained["objective.ttft"] == ("2s", "defaults")
    assert explained["affinity.conversation"] == ("2m", "spec")


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


SCHEDULED = policy(
    k={"max": 6},
    schedules=[
        {"name": "day", "when": {"from": "08:00", "to": "20:00", "tz": "Europe/Berlin"}, "k": {"max": 5}},
        {
            "name": "peak",
            "when": {"days": "mon-fri", "from": "09:00", "to": "18:00", "tz": "Europe/Berlin"},
            "k": {"max": 3},
            "objective": {"min_speedup": 1.3},
        },
    ],
    tasks={"code": {"k": {"max": 7}}},
    tenants={"acme": {"objective": {"min_speedup": 1.4}}},
)
NIGHT, MORNING, PEAK = (at(f"2026-11-23T{hour}:00+01:00") for hour in ("07", "08", "09"))


@pytest.mark.parametrize(
    ("tenant", "task", "moment", "max_k", "min_speedup"),
    [
        ("x", "qa", NIGHT, 6, 1.05),
        ("x", "qa", MORNING, 5, 1.05),
        ("x", "qa", PEAK, 3, 1.3),
        ("x", "qa", at("2026-11-22T09:00+01:00"), 5, 1.05),
        ("x", "code", PEAK, 7, 1.3),
        ("acme", "qa", PEAK, 3, 1.4),
        ("x", "qa", None, 6, 1.05),
    ],
)
def test_schedules_stand_between_spec_and_tasks(
    tenant: str, task: str, moment: dt.datetime | None, max_k: int, min_speedup: float
) -> None:
    """While they apply; the later one in the file holds; tasks and tenants outrank them."""
    effective = resolve(SCHEDULED, tenant=tenant, task=task, at=moment)
    assert (effective.k.max, effective.objective.min_speedup) == (max_k, min_speedup)


def test_explain_names_the_schedule() -> None:
    """A value that holds for now says so, and what it moved too."""
    explained = {row.path: row for row in explain(SCHEDULED, "x", "qa", PEAK)}
    assert explained["k.max"] == ("k.max", 3, "schedules.peak", "")
    assert explained["k.default"].note == "clamped: 4 is above the k.max of schedules.peak"
    assert applying(SCHEDULED, PEAK) == (0, 1)
    assert applying(SCHEDULED, None) == ()


def test_the_table_follows_the_clock_both_ways() -> None:
    """Schedules begin and end to the second, and a clock that is put back is believed."""
    table = PolicyTable(SCHEDULED)
    begin, end = PEAK.timestamp(), at("2026-11-23T18:00+01:00").timestamp()
    seen = [
        table.resolve(tenant="x", task="qa", now_s=now_s).k.max
        for now_s in (begin - 0.001, begin, end - 0.001, end, begin - 7200.0, begin + 59.9, begin - 0.001)
    ]
    assert seen == [5, 3, 3, 5, 6, 3, 5]


def test_an_answer_stays_the_same_object_until_other_schedules_apply() -> None:
    """Whoever caches by it need not look at the clock."""
    table = PolicyTable(SCHEDULED)
    begin = PEAK.timestamp()
    first, later, after = (
        table.resolve(tenant="x", task="code", now_s=begin + hours * 3600.0) for hours in (0, 8.9, 9)
    )
    assert first is later
    assert after is not first


@settings(deadline=None)
@given(st.floats(-7 * 86_400, 7 * 86_400), st.floats(-7 * 86_400, 7 * 86_400))
def test_the_table_answers_as_resolve_does_at_any_time(first_s: float, second_s: float) -> None:
    """Whatever it was asked before."""
    table = PolicyTable(SCHEDULED)
    for offset_s in (first_s, second_s, first_s):
        now_s = PEAK.timestamp() + offset_s
        moment = dt.datetime.fromtimestamp(now_s, dt.UTC)
        for tenant, task in (("acme", "qa"), ("x", "code")):
            expected = resolve(SCHEDULED, tenant=tenant, task=task, at=moment)
            assert table.resolve(tenant=tenant, task=task, now_s=now_s) == expected


# Values from disjoint ranges, so that every combination is consistent.
OVERRIDE = st.fixed_dictionaries(
    {},
    optional={
        "threshold": st.fixed_dictionaries(
            {},
            optional={
                "metric": st.sampled_from(["alpha", "draft_acceptance_rate"]),
                "enable_above": st.floats(0.55, 1),
                "disable_below": st.floats(0, 0.55),
            },
        ),
        "k": st.fixed_dictionaries(
            {}, optional={"min": st.integers(1, 3), "default": st.integers(3, 6), "max": st.integers(6, 32)}
        ),
        "exploration": st.fixed_dictionaries(
            {}, optional={"share": st.floats(0, 0.1), "max_share": st.floats(0.1, 1)}
        ),
    },
)
DEFAULTS: dict[str, dict[str, Any]] = {
    "threshold": {"metric": "alpha", "enable_above": 0.6, "disable_below": 0.5},
    "k": {"mode": "adaptive", "min": 1, "max": 8, "default": 4},
    "exploration": {"share": 0.02, "max_share": 0.1},
}


@settings(deadline=None)
@given(spec=OVERRIDE, task=OVERRIDE, tenant=OVERRIDE, tenant_task=OVERRIDE)
def test_resolving_equals_a_naive_merge(
    spec: dict[str, Any], task: dict[str, Any], tenant: dict[str, Any], tenant_task: dict[str, Any]
) -> None:
    """Key by key, the last of the layers that has it."""
    tenants = {"acme": {**tenant, "tasks": {"code": tenant_task}}}
    effective = resolve(policy(**spec, tasks={"code": task}, tenants=tenants), tenant="acme", task="code")
    for group, defaults in DEFAULTS.items():
        merged = dict(defaults)
        for layer in (spec, task, tenant, tenant_task):
            merged.update(layer.get(group, {}))
        assert getattr(effective, group).model_dump() == merged


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
@example(spec={}, schedules=[{"k": {"max": 3}}, {"k": {"min": 5}}], task={}, tenant={}, own_task={})
@given(spec=CROOKED, schedules=st.lists(CROOKED, max_size=4), task=CROOKED, tenant=CROOKED, own_task=CROOKED)
def test_a_policy_without_conflicts_never_contradicts_itself(
    spec: dict[str, Any],
    schedules: list[dict[str, Any]],
    task: dict[str, Any],
    tenant: dict[str, Any],
    own_task: dict[str, Any],
) -> None:
    """Whichever of its schedules apply together, though only pairs of them were checked."""
    always = {"from": "00:00", "to": "24:00"}

    def over(*indices: int) -> RoutingPolicy:
        return policy(
            **spec,
            schedules=[{"name": f"s{index}", "when": always, **schedules[index]} for index in indices],
            tasks={"code": task},
            tenants={"acme": {**tenant, "tasks": {"code": own_task}}},
        )

    try:
        whole = over(*range(len(schedules)))
    except ValueError:
        return  # a section of spec contradicts itself
    if conflicts(whole):
        return
    for count in range(len(schedules) + 1):
        for indices in itertools.combinations(range(len(schedules)), count):
            for who, what in itertools.product(("acme", "x"), ("code", "qa")):
                resolve(over(*indices), tenant=who, task=what, at=PEAK)


def test_a_conflict_of_schedules_that_never_meet_is_none() -> None:
    """Day and night may contradict each other."""
    day = {"name": "day", "when": {"from": "06:00", "to": "20:00"}, "k": {"max": 3}}
    night = {"name": "night", "when": {"from": "20:00", "to": "06:00"}, "k": {"min": 5}}
    assert conflicts(policy(schedules=[day, night])) == []
    night["when"] = {"from": "19:00", "to": "06:00"}
    (conflict,) = conflicts(policy(schedules=[day, night]))
    assert conflict.paths[0] == ("spec", "schedules", 1, "k", "min")
