"""Layers: what holds for a tenant and a task, and where it came from."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.resolve import PolicyTable, explain, resolve
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
    entries = {id(table.resolve(tenant=f"tenant-{n}", task=f"task-{n}")) for n in range(1000)}
    assert len(entries) == 1
    assert table.resolve(tenant="acme", task="code") is table.resolve(tenant="acme", task="code")


@pytest.mark.parametrize("tenant", ["acme", "unnamed"])
@pytest.mark.parametrize("task", ["code", "qa", "no such task"])
def test_the_table_answers_as_resolve_does(tenant: str, task: str) -> None:
    """Sharing entries changes no answer."""
    assert PolicyTable(LAYERED).resolve(tenant=tenant, task=task) == resolve(
        LAYERED, tenant=tenant, task=task
    )


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
