"""What operators see: the shapes of the contract, and sums that are exact."""

import json
from pathlib import Path
from typing import Any

import pytest
from fakes import FakePool, Harness, ending, gone, request, whole

from policies.cost import PredictionError
from policies.drift import DriftEvent, TaskShare
from policies.forecast import Forecaster
from router.admin import Admin

pytestmark = pytest.mark.unit

ENTRY = {
    "profile",
    "task",
    "tenant",
    "temperature",
    "alpha",
    "interval",
    "alpha_by_position",
    "draft_acceptance_rate",
    "acceptance_length",
    "coverage",
    "steps",
    "drafted",
    "accepted",
    "requests",
    "lifetime",
    "updated_at",
}


def admin_of(harness: Harness) -> Admin:
    return Admin(
        snapshot=harness.buffer,
        learning=harness.learning,
        pools=harness.pools,
        policies=harness.policies,
        predictions=PredictionError(),
        forecaster=Forecaster(),
        model="m",
        clock=harness.clock,
    )


async def served(folder: Path) -> tuple[Harness, Admin]:
    """After four requests of two tenants at two temperatures, of one task."""
    harness = await Harness(folder).ready()
    for tenant, temperature in (("acme", 0.0), ("acme", 1.0), ("beta", 1.0), ("beta", 1.0)):
        await harness.answer(
            request({"x-specroute-tenant": tenant, "x-specroute-task": "code"}, temperature=temperature)
        )
    return harness, admin_of(harness)


def rows(admin: Admin, **filters: str) -> dict[tuple[Any, Any], dict[str, Any]]:
    """Entries by temperature and tenant."""
    return {(row["temperature"], row["tenant"]): row for row in admin.alpha(**filters)["entries"]}


async def test_entries_have_the_keys_of_the_contract(tmp_path: Path) -> None:
    """Every entry has all keys, and the answer is JSON."""
    _, admin = await served(tmp_path)
    answer = admin.alpha()
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    for row in answer["entries"]:
        assert row.keys() >= ENTRY
        assert row["lifetime"].keys() == {"steps", "drafted", "accepted", "tokens", "requests"}
        assert 0 <= row["interval"][0] <= row["alpha"] <= row["interval"][1] <= 1
    assert answer.keys() >= {"entries", "store_up", "store_age_s"}


async def test_totals_stand_beside_their_parts(tmp_path: Path) -> None:
    """Tenant null is the task's total, temperature null all temperatures; there is one entry for each."""
    _, admin = await served(tmp_path)
    found = rows(admin)
    assert len(found) == len(admin.alpha()["entries"])
    requests = {key: row["lifetime"]["requests"] for key, row in found.items()}
    assert requests == {
        (None, None): 4,
        ("low", None): 1,
        ("high", None): 3,
        (None, "acme"): 2,
        ("low", "acme"): 1,
        ("high", "acme"): 1,
        (None, "beta"): 2,
        ("high", "beta"): 2,
    }
    for name, value in found[(None, None)]["lifetime"].items():
        assert value == found["low", None]["lifetime"][name] + found["high", None]["lifetime"][name]
        assert value == found[None, "acme"]["lifetime"][name] + found[None, "beta"]["lifetime"][name]


async def test_counters_fade_and_lifetime_does_not(tmp_path: Path) -> None:
    """Plain counters are decayed to now, in every entry; lifetime totals stay."""
    harness, admin = await served(tmp_path)
    before = rows(admin)
    harness.clock.now_s += 600
    after = rows(admin)
    for key, row in after.items():
        for name in ("steps", "drafted", "accepted", "requests"):
            assert row[name] == pytest.approx(before[key][name] / 2)
        assert row["lifetime"] == before[key]["lifetime"]
        assert row["acceptance_length"] == pytest.approx(8 / 3)
        assert row["draft_acceptance_rate"] == pytest.approx(0.5)
        assert row["updated_at"] == before[key]["updated_at"]


async def test_filters(tmp_path: Path) -> None:
    """By task and by tenant; what nobody has gives no entries."""
    _, admin = await served(tmp_path)
    assert {tenant for _, tenant in rows(admin, tenant="acme")} == {"acme"}
    assert len(rows(admin, task="code")) == 8
    assert not rows(admin, task="qa")


async def test_without_speculative_steps_there_is_no_alpha(tmp_path: Path) -> None:
    """Plain decoding says nothing of drafts: null, never zero; its steps and requests are shown."""
    plain = whole(ending=ending((0, 0), (0, 0)))
    harness = await Harness(tmp_path, vanilla=FakePool([plain]), mode="always_vanilla").ready()
    await harness.answer()
    row = rows(admin_of(harness))[None, None]
    assert (row["alpha"], row["interval"], row["draft_acceptance_rate"]) == (None, None, None)
    assert (row["alpha_by_position"], row["coverage"]) == ([], [])
    assert (row["steps"], row["acceptance_length"], row["lifetime"]["requests"]) == (2, None, 1)


def test_nothing_learned_yet(tmp_path: Path) -> None:
    """No entries, and a store that never answered has no age."""
    answer = admin_of(Harness(tmp_path)).alpha()
    assert answer == {"entries": [], "store_up": False, "store_age_s": None}


async def test_replicas_tell_load_and_faults(tmp_path: Path) -> None:
    """Every pool with its k, its capacity, and why it is away."""
    harness = Harness(tmp_path)
    harness.ngram.status_error = gone()
    await harness.pools.poll()
    vanilla, ngram = admin_of(harness).replicas()["pools"]
    assert (vanilla["profile"], vanilla["available"], vanilla["in_flight"]) == ("vanilla", True, 0)
    assert vanilla["status"] == {"running": 0}
    assert (ngram["max_k"], ngram["least_asked"], ngram["available"], ngram["last_error"]) == (
        8,
        0,
        False,
        "the engine core has ended",
    )


async def test_the_last_drift_events_are_listed_newest_first(tmp_path: Path) -> None:
    """With their figures, as JSON; of very many the last hundred."""
    _, admin = await served(tmp_path)
    assert admin.drift() == {"events": []}
    for number in range(150):
        admin.on_drift(DriftEvent("task_fell", "ngram", "code", float(number), 0.7, 0.4, 12))
    shares = (TaskShare("qa", 0.1, 0.6),)
    admin.on_drift(DriftEvent("traffic_shift", "ngram", None, 150.0, 0.7, 0.5, 75, gained=shares))
    events = json.loads(json.dumps(admin.drift()))["events"]
    assert [event["at"] for event in events] == [float(number) for number in range(150, 50, -1)]
    assert events[0]["gained"] == [{"task": "qa", "before": 0.1, "after": 0.6}]
    assert (events[1]["kind"], events[1]["before"], events[1]["after"]) == ("task_fell", 0.7, 0.4)
