"""What a dashboard's page is told: the admin API's own figures, bounded whatever the number of tenants."""

import json
from pathlib import Path

import pytest
from boards import Board, drift, seen
from fakes import Harness, gone, request

from policies.cells import CellDelta, CellKey
from router.canary_watch import CanaryState
from router.dashboard.live import event
from router.dashboard.state import TOP_TENANTS, View

pytestmark = pytest.mark.unit

COUNTERS = {"requests": 3.0, "steps": 90.0, "reached:1": 90.0, "proposed:1": 90.0, "accepted:1": 60.0}
HOSTILE = "<img src=x onerror=alert(1)>"


async def harness_of(folder: Path) -> Harness:
    return await Harness(folder).ready()


async def test_figures_are_the_admin_api_s(tmp_path: Path) -> None:
    """Alpha with its interval, engines and decisions: not a number of its own."""
    harness = await harness_of(tmp_path)
    board = Board(harness)
    for _ in range(3):
        await harness.answer(request({"x-specroute-tenant": "acme", "x-specroute-task": "code"}))
    told = board.dashboard.state.told(View())
    (task,) = told["tasks"]
    rows = [row for row in board.admin.alpha()["entries"] if row["temperature"] is None]
    (row,) = [row for row in rows if row["task"] == "code" and row["tenant"] is None]
    (evidence,) = task["evidence"]
    assert evidence == {name: row[name] for name in evidence}
    assert evidence["alpha"] is not None
    assert task["in_use"] == row["arm"]
    assert (task["requests"], task["speculative"], task["reasons"]) == (3, 3, {"mode": 3})
    assert sum(arm["requests"] for arm in task["arms"]) == 3
    assert told["engines"] == board.admin.replicas()["pools"]
    listed = board.admin.decisions.listed({})["decisions"]
    assert [one["request_id"] for one in told["decisions"]] == [one["request_id"] for one in listed]
    assert told["decisions"][0]["explanation"] == listed[0]["explanation"]
    (tenant,) = told["tenants"]["rows"]
    (of_acme,) = [row for row in rows if row["tenant"] == "acme"]
    assert (tenant["tenant"], tenant["requests"]) == ("acme", 3)
    assert tenant["tasks"][0]["alpha"] == of_acme["alpha"]


async def test_a_tenant_s_view_is_its_own(tmp_path: Path) -> None:
    """Tasks, totals and decisions of that tenant; and of one task of it where that is asked for."""
    harness = await harness_of(tmp_path)
    board = Board(harness)
    for tenant, task in (("acme", "code"), ("acme", "chat"), ("globex", "code")):
        await harness.answer(request({"x-specroute-tenant": tenant, "x-specroute-task": task}))
    told = board.dashboard.state.told(View(tenant="acme"))
    assert {task["task"] for task in told["tasks"]} == {"code", "chat"}
    assert told["total"]["requests"] == 2
    assert {one["tenant"] for one in told["decisions"]} == {"acme"}
    narrow = board.dashboard.state.told(View(tenant="acme", task="code"))
    assert [(one["tenant"], one["task"]) for one in narrow["decisions"]] == [("acme", "code")]
    assert board.dashboard.state.told(View())["total"]["requests"] == 3


def busy(board: Board, harness: Harness, tenants: int) -> None:
    """The first tenants send most; all have evidence of three tasks."""
    for number in range(tenants):
        for task in ("code", "chat", "sql"):
            for _ in range(2 if number < 30 else 1):
                one = seen(task, f"tenant-{number:04d}", number % 9)
                board.dashboard._activity.add(one, harness.clock())
            key = CellKey("ngram", task, "low", f"tenant-{number:04d}")
            harness.buffer.record({key: CellDelta(600.0, COUNTERS, {"requests": 3})}, harness.clock())


async def test_a_thousand_tenants_make_no_larger_state(tmp_path: Path) -> None:
    """Twenty are told, the busiest; the event's bytes are bounded, and so is the history's."""
    harness = await harness_of(tmp_path)
    board = Board(harness)
    busy(board, harness, 1000)
    board.dashboard.state.sample()
    told = board.dashboard.state.told(View())
    assert [row["tenant"] for row in told["tenants"]["rows"]] == [
        f"tenant-{n:04d}" for n in range(TOP_TENANTS)
    ]
    assert told["tenants"]["known"] == told["tenants"]["matching"] == 1000
    assert len(event("state", told)) < 64_000
    assert len(board.dashboard.state.history) <= 3 * 2 * (1 + TOP_TENANTS)


async def test_a_search_finds_any_of_a_thousand(tmp_path: Path) -> None:
    """By a part of the name, in any case; it says how many match."""
    harness = await harness_of(tmp_path)
    board = Board(harness)
    busy(board, harness, 1000)
    board.dashboard.state.sample()
    found = board.dashboard.state.told(View(search="NT-0999"))["tenants"]
    assert [row["tenant"] for row in found["rows"]] == ["tenant-0999"]
    assert (found["matching"], found["known"]) == (1, 1000)
    assert found["rows"][0]["tasks"][0]["alpha"] is not None
    many = board.dashboard.state.told(View(search="tenant-09"))["tenants"]
    assert (len(many["rows"]), many["matching"]) == (TOP_TENANTS, 100)
    assert not board.dashboard.state.told(View(search="nobody"))["tenants"]["rows"]


async def test_a_tenant_that_is_looked_at_has_a_trend(tmp_path: Path) -> None:
    """However little it sends, from the moment somebody looks."""
    harness = await harness_of(tmp_path)
    board = Board(harness)
    busy(board, harness, 100)
    state = board.dashboard.state
    state.sample()
    assert not state.history.alphas("tenant-0099", window_s=900, most=9)["series"]
    state.told(View(tenant="tenant-0099"))
    state.sample()
    assert state.history.alphas("tenant-0099", window_s=900, most=9)["series"]


async def test_names_are_data(tmp_path: Path) -> None:
    """A tenant that calls itself markup arrives as it is, in JSON of one line."""
    harness = await harness_of(tmp_path)
    board = Board(harness)
    board.dashboard._activity.add(seen(tenant=f"{HOSTILE}\n\nevent: end"), harness.clock())
    data = event("state", board.dashboard.state.told(View()))
    assert data.count(b"\n") == 3
    assert HOSTILE in json.loads(data.split(b"\n")[1][6:])["tenants"]["rows"][0]["tenant"]


async def test_a_dashboard_before_any_traffic(tmp_path: Path) -> None:
    """Says that it knows nothing, not 0 or an error."""
    board = Board(await harness_of(tmp_path))
    await board.dashboard.step()
    told = board.dashboard.state.told(View())
    assert (told["tasks"], told["decisions"], told["events"], told["tenants"]["rows"]) == ([], [], [], [])
    assert (told["total"]["speedup"], told["since"]) == (None, None)
    assert told["policy"]["mode"] == "always_speculative"


async def test_what_happened_is_told_with_its_time(tmp_path: Path) -> None:
    """Drift, a changed policy, a lost engine and its return, a stopped canary: the newest first."""
    harness = await harness_of(tmp_path)
    board = Board(harness)
    dashboard = board.dashboard
    await dashboard.step()
    dashboard.on_drift(drift(harness.clock()))
    harness.policy_file.write_text(harness.policy_file.read_text().replace('"test"', '"other"'))
    harness.policies.reload()
    await dashboard.step()
    harness.ngram.status_error = gone()
    await harness.pools.poll()
    await dashboard.step()
    harness.ngram.status_error = None
    await harness.pools.poll()
    await dashboard.step()
    board.canary = CanaryState("stopped", "worse")
    await dashboard.step()
    told = dashboard.state.told(View())["events"]
    assert [one["kind"] for one in told] == ["canary", "engine", "engine", "policy", "drift"]
    assert [one["bad"] for one in told] == [True, False, True, False, True]
    assert "code on ngram fell: alpha 0.80 → 0.30" in told[-1]["text"]
    assert told[-2]["text"].startswith("other@")
    assert "ngram cannot answer" in told[2]["text"]
    assert all(one["at"] == harness.clock() for one in told)


async def test_a_rejected_policy_is_told_once(tmp_path: Path) -> None:
    """The file broke; that it is still broken is no news."""
    harness = await harness_of(tmp_path)
    board = Board(harness)
    await board.dashboard.step()
    harness.policy_file.write_text("spec: [")
    harness.policies.reload()
    for _ in range(3):
        await board.dashboard.step()
    told = board.dashboard.state.told(View())
    assert len(told["events"]) == 1
    assert "rejected" in told["events"][0]["text"]
    assert told["policy"]["rejected"]


async def test_samples_come_every_ten_steps(tmp_path: Path) -> None:
    """A step is a second; what came since the last sample is told as traffic."""
    harness = await harness_of(tmp_path)
    board = Board(harness)
    await board.dashboard.step()
    await harness.answer(request({"x-specroute-task": "code"}))
    for _ in range(10):
        await board.dashboard.step()
    assert board.dashboard.state.history.samples == 2
    told = board.dashboard.state.history.task(None, "code", window_s=900, most=9)
    (traffic,) = [one for one in told["series"] if one["profile"] is None]
    assert traffic["values"][0] == [None, 1]
