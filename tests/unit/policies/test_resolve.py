"""Layers: what holds for a tenant and a task, and where it came from."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.resolve import PolicyTable, applying, explain, resolve
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


SEGMENTED = policy(
    tasks={"code": {"k": {"max": 5}}},
    segments={
        "premium": {
            "k": {"max": 6},
            "limits": {"deadline": "30s"},
            "tasks": {"code": {"k": {"max": 7}}, "sql": {"k": {"max": 4}}},
        }
    },
    tenants={
        "acme": {"segment": "premium", "k": {"max": 8}, "tasks": {"code": {"k": {"max": 9}}}},
        "globex": {"segment": "premium", "limits": {"max_concurrency": 3}},
    },
)


@pytest.mark.parametrize(
    ("tenant", "task", "max_k", "layer"),
    [
        ("x", "code", 5, "tasks.code"),
        ("globex", "qa", 6, "segments.premium"),
        ("globex", "code", 7, "segments.premium.tasks.code"),
        ("globex", "sql", 4, "segments.premium.tasks.sql"),
        ("acme", "code", 9, "tenants.acme.tasks.code"),
        # The tenant outranks every layer of its segment, as it outranks tasks.
        ("acme", "sql", 8, "tenants.acme"),
    ],
)
def test_a_segment_stands_between_tasks_and_tenants(tenant: str, task: str, max_k: int, layer: str) -> None:
    """Its tenants have its settings where they have none of their own; the table knows too."""
    assert PolicyTable(SEGMENTED).resolve(tenant=tenant, task=task, now_s=0.0).k.max == max_k
    explained = {row.path: row for row in explain(SEGMENTED, tenant, task)}
    assert explained["k.max"] == ("k.max", max_k, layer, "")


def test_a_segment_has_limits() -> None:
    """Each of its tenants may use that much."""
    limits = resolve(SEGMENTED, tenant="globex", task="qa").limits
    assert (limits.deadline, limits.max_concurrency) == (30.0, 3)


@pytest.mark.parametrize("mode", ["adaptive", "threshold"])
def test_layers_may_choose_between_the_modes_that_choose(mode: str) -> None:
    """A task or a tenant may be in the other of the two."""
    moded = policy(mode=mode, tasks={"code": {"mode": "threshold"}}, tenants={"acme": {"mode": "adaptive"}})
    modes = [resolve(moded, tenant=who, task=what).mode for who, what in (("x", "code"), ("acme", "code"))]
    assert modes == ["threshold", "adaptive"]
    assert resolve(moded, tenant="x", task="qa").mode == mode


@pytest.mark.parametrize("mode", ["always_vanilla", "always_speculative", "shadow"])
def test_the_other_modes_of_spec_hold_for_everyone(mode: str) -> None:
    """The kill switch needs no look at the layers; explain says what does not count."""
    killed = policy(mode=mode, tasks={"code": {"mode": "threshold"}}, tenants={"acme": {"mode": "adaptive"}})
    assert {resolve(killed, tenant=who, task="code").mode for who in ("x", "acme")} == {mode}
    explained = {row.path: row for row in explain(killed, "acme", "code")}
    note = "holds for everyone: adaptive of tenants.acme does not count"
    assert explained["mode"] == ("mode", mode, "spec", note)


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
