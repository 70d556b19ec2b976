"""What tenants set for themselves, and what becomes of it when the policy changes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.preferences import (
    Preferences,
    PreferencesError,
    check_preferences,
    describe,
    parse_preferences,
    self_service,
)
from policies.resolve import PolicyTable, explain, resolve
from policies.schema import RoutingPolicy

pytestmark = pytest.mark.unit


def policy(**spec: Any) -> RoutingPolicy:
    return RoutingPolicy.model_validate(
        {"apiVersion": "specroute/v1", "kind": "RoutingPolicy", "metadata": {"name": "test"}, "spec": spec}
    )


BOTH_MODES = ["adaptive", "threshold"]
GENEROUS = policy(
    mode="threshold",
    tasks={"creative": {"threshold": {"enable_above": 0.7}}},
    segments={"trial": {"self_service": {"threshold": {"min": 0.4, "max": 0.6}}}},
    tenants={
        "acme": {"self_service": {"threshold": {"min": 0.3, "max": 0.9}, "modes": BOTH_MODES}},
        "globex": {"segment": "trial"},
        "initech": {"segment": "trial", "self_service": {}},
        "hooli": {},
    },
)


def band(enable_above: float | None = None, disable_below: float | None = None) -> dict[str, Any]:
    return {"threshold": {"enable_above": enable_above, "disable_below": disable_below}}


def checked(tenant: str, values: dict[str, Any], among: RoutingPolicy = GENEROUS) -> list[str]:
    return [describe(found) for found in check_preferences(among, tenant, parse_preferences(values))]


def test_preferences_are_read_and_written() -> None:
    """What was set comes back as it was, and nothing else."""
    values = {"threshold": {"enable_above": 0.7}, "tasks": {"code": {"mode": "adaptive"}}}
    assert parse_preferences(values).written() == values
    assert parse_preferences({}).written() == {}


def test_every_problem_of_preferences_is_told() -> None:
    """With its path, the closest key and what is allowed."""
    values = {
        "treshold": {},
        "mode": "shadow",
        "tasks": {"code": {"threshold": {"enable_above": 70}}, "sql": band(0.4, 0.5), "Q!": {}},
    }
    with pytest.raises(PreferencesError) as caught:
        parse_preferences(values)
    assert str(caught.value).splitlines() == [
        (
            "mode: the mode shadow holds for everyone: only spec.mode of the policy may say it; "
            "allowed here: adaptive, threshold"
        ),
        "tasks.code.threshold.enable_above: must be at most 1, got 70; did you mean 0.7?",
        "tasks.sql.threshold.disable_below: disable_below 0.5 is above enable_above 0.4",
        "tasks['Q!']: 'Q!' is not a task name; use 1 to 64 characters of a-z 0-9 _ -, a letter first",
        "treshold: unknown key; did you mean 'threshold'? allowed: threshold, mode, tasks",
    ]


@pytest.mark.parametrize("values", [None, [], "x", 3, {"tasks": []}, {"threshold": [0.5]}])
def test_what_is_no_preferences_is_refused(values: object) -> None:
    """Whatever JSON holds."""
    with pytest.raises(PreferencesError, match="expected a mapping"):
        parse_preferences(values)


@pytest.mark.parametrize(
    ("tenant", "values", "expected"),
    [
        ("acme", band(0.9, 0.3), []),
        ("acme", {"mode": "adaptive"}, []),
        ("globex", band(0.6, 0.4), []),
        ("globex", band(0.61), ["threshold.enable_above: must lie between 0.4 and 0.6, got 0.61"]),
        (
            "globex",
            {"mode": "adaptive"},
            ["mode: this tenant may not choose the mode adaptive; ask the operator for self_service"],
        ),
        # A tenant's own self_service replaces that of its segment.
        (
            "initech",
            band(0.5),
            ["threshold.enable_above: this tenant may not set thresholds; ask the operator for self_service"],
        ),
        ("hooli", band(0.6), ["this tenant may set nothing for itself; ask the operator for self_service"]),
        ("hooli", {}, []),
        ("unnamed", {}, []),
        ("unnamed", band(0.6), ["this tenant may set nothing for itself; ask the operator for self_service"]),
        (
            "acme",
            {"tasks": {"cod": {"mode": "adaptive"}}},
            [
                (
                    "tasks.cod: unknown task; did you mean 'code'? allowed: code, sql, structured, math, qa, rag, "
                    "summarization, translation, creative, chat, extraction, legal, support, reasoning, other"
                )
            ],
        ),
        (
            "acme",
            band(0.4),
            [
                (
                    "threshold.enable_above: disable_below 0.5 is above enable_above 0.4; "
                    "disable_below comes from defaults, set it here too"
                )
            ],
        ),
        (
            "acme",
            {"tasks": {"code": band(0.4)}, **band(0.8, 0.6)},
            [
                (
                    "tasks.code.threshold.enable_above: disable_below 0.6 is above enable_above 0.4; "
                    "disable_below comes from preferences, set it here too"
                )
            ],
        ),
    ],
)
def test_preferences_are_checked_against_the_policy(
    tenant: str, values: dict[str, Any], expected: list[str]
) -> None:
    """Bounds, modes, tasks, and a band that the policy's own values would turn upside down."""
    assert checked(tenant, values) == expected


def test_preferences_are_checked_for_every_task_and_schedule() -> None:
    """What crosses only at night, or only for one task, crosses."""
    night = {"name": "night", "when": {"from": "22:00", "to": "06:00"}, "threshold": {"disable_below": 0.6}}
    own = {"acme": {"self_service": {"threshold": {}}}}
    (found,) = checked("acme", band(0.55), policy(schedules=[night], tenants=own))
    assert "disable_below comes from schedules.night" in found
    of_task = policy(tasks={"sql": {"threshold": {"disable_below": 0.6}}}, tenants=own)
    (found,) = checked("acme", band(0.55), of_task)
    assert "disable_below comes from tasks.sql" in found


def test_preferences_are_the_strongest_layer() -> None:
    """Those for a task above those for all; explain names them."""
    own = parse_preferences({**band(0.8), "mode": "adaptive", "tasks": {"code": {"mode": "threshold"}}})
    effective = resolve(GENEROUS, tenant="acme", task="code", preferences=own)
    assert (effective.mode, effective.threshold.enable_above, effective.threshold.disable_below) == (
        "threshold",
        0.8,
        0.5,
    )
    explained = {row.path: row for row in explain(GENEROUS, "acme", "code", preferences=own)}
    assert explained["mode"].layer == "preferences.tasks.code"
    assert explained["threshold.enable_above"][1:] == (0.8, "preferences", "")


@pytest.mark.parametrize(
    ("tenant", "values", "expected"),
    [
        pytest.param(
            "globex",
            band(0.9),
            (
                "threshold.enable_above",
                0.6,
                "preferences",
                "clamped: the tenant's own 0.9 is beyond 0.4 to 0.6",
            ),
            id="bounds",
        ),
        pytest.param(
            "hooli",
            band(0.9),
            (
                "threshold.enable_above",
                0.6,
                "defaults",
                "the tenant's own 0.9 does not count: it may not set thresholds",
            ),
            id="no self-service any more",
        ),
        pytest.param(
            "globex",
            {"mode": "adaptive"},
            (
                "mode",
                "threshold",
                "spec",
                "the tenant's own adaptive does not count: it may not choose that mode",
            ),
            id="no modes any more",
        ),
        pytest.param(
            "acme",
            band(0.4),
            (
                "threshold.enable_above",
                0.5,
                "preferences",
                "moved: the tenant's own 0.4 would turn the band upside down",
            ),
            id="upper value below the policy's lower one",
        ),
        pytest.param(
            "acme",
            band(None, 0.65),
            (
                "threshold.disable_below",
                0.6,
                "preferences",
                "moved: the tenant's own 0.65 would turn the band upside down",
            ),
            id="lower value above the policy's upper one",
        ),
    ],
)
def test_a_newer_policy_that_allows_less_is_no_error(
    tenant: str, values: dict[str, Any], expected: tuple[str, object, str, str]
) -> None:
    """Preferences that were accepted once move into what is allowed now, and explain says so."""
    own = parse_preferences(values)
    explained = {row.path: row for row in explain(GENEROUS, tenant, "code", preferences=own)}
    assert explained[expected[0]] == expected


@pytest.mark.parametrize("mode", ["shadow", "always_vanilla"])
def test_no_tenant_opts_out_of_the_kill_switch(mode: str) -> None:
    """Its mode is kept for later and does not count."""
    killed = policy(mode=mode, tenants={"acme": {"self_service": {"modes": BOTH_MODES}}})
    own = parse_preferences({"mode": "adaptive"})
    assert check_preferences(killed, "acme", own) == []
    assert resolve(killed, tenant="acme", task="code", preferences=own).mode == mode


BANDS = st.fixed_dictionaries(
    {}, optional={key: st.floats(0, 1) for key in ("enable_above", "disable_below")}
).filter(lambda own: own.get("disable_below", 0) <= own.get("enable_above", 1))
PARTS = st.fixed_dictionaries({}, optional={"threshold": BANDS, "mode": st.sampled_from(BOTH_MODES)})
PREFERENCES = st.tuples(PARTS, PARTS).map(lambda parts: {**parts[0], "tasks": {"code": parts[1]}})


@settings(deadline=None)
@given(
    values=PREFERENCES,
    tenant=st.sampled_from([*GENEROUS.spec.tenants, "unnamed"]),
    task=st.sampled_from(["code", "creative", "qa"]),
)
def test_whatever_was_stored_the_path_finds_a_band(values: dict[str, Any], tenant: str, task: str) -> None:
    """Never an error, never upside down, and never beyond the bounds but where the policy itself is."""
    own = Preferences.model_validate(values)
    threshold = resolve(GENEROUS, tenant=tenant, task=task, preferences=own).threshold
    assert threshold.disable_below <= threshold.enable_above
    allowed = self_service(GENEROUS, tenant)
    plain = resolve(GENEROUS, tenant=tenant, task=task).threshold
    if allowed is None or allowed.threshold is None:
        assert threshold == plain
    elif not check_preferences(GENEROUS, tenant, own):
        part = {**values.get("threshold", {}), **(values["tasks"].get(task, {}).get("threshold", {}))}
        assert threshold.model_dump() == {**plain.model_dump(), **part}


def test_the_table_notices_changed_preferences() -> None:
    """The same object for as long as they are the same, whoever read them from the store."""
    table = PolicyTable(GENEROUS)

    def resolved(values: dict[str, Any] | None, tenant: str = "acme", task: str = "code") -> Any:
        own = None if values is None else parse_preferences(values)
        return table.resolve(tenant=tenant, task=task, now_s=0.0, preferences=own)

    first = resolved(band(0.8))
    assert (first.threshold.enable_above, resolved(band(0.8)) is first) == (0.8, True)
    assert resolved(band(0.7)).threshold.enable_above == 0.7
    assert resolved(None).threshold.enable_above == 0.6
    only_sql = {"tasks": {"sql": band(0.9)}}
    assert resolved(only_sql, task="sql").threshold.enable_above == 0.9
    assert resolved(only_sql, task="qa").threshold.enable_above == 0.6
    assert resolved(band(0.8), "unnamed") is resolved(None, "another")


def test_preferences_can_be_keys() -> None:
    """Equal ones are one key."""
    values = {"tasks": {"code": band(0.6)}}
    assert len({parse_preferences(values), parse_preferences(values), parse_preferences({})}) == 2
