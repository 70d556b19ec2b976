"""A canary from its policy to its end: who decides, what is counted, when it stops, who may promote it."""

import asyncio
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
from app_client import client_of, error_of
from fakes import FakePool, Harness, ending, policy_text, request, whole

from router.admin_policy import PolicyAdmin
from router.canary import Canary
from router.canary_metrics import CanaryCollector
from router.canary_store import FakeCanaryStore
from router.canary_trial import TrialCounts
from router.canary_watch import CanaryWatch
from router.fake_policy_store import FakePolicyStore
from router.policy_changes import PolicyChanges
from router.policy_sync import PolicySync

pytestmark = pytest.mark.unit

CANARY = {"policy": "next.yaml", "share": "50%", "stop": {"min_requests": 30}}
SLOW = FakePool([whole(ending=ending(decode_s=0.8))])


def write_next(folder: Path, name: str = "next", **spec: Any) -> Path:
    file = folder / "next.yaml"
    file.write_text(policy_text(name, **{"mode": "always_vanilla", **spec}))
    return file


async def begun(folder: Path, store: FakeCanaryStore | None = None, **changes: Any) -> Harness:
    """A service whose candidate decodes plainly, and whose plain pool is `SLOW` unless another is given."""
    if not (folder / "next.yaml").exists():
        write_next(folder)
    canary = {**CANARY, **changes.pop("canary", {})}
    harness = await Harness(folder, **{"vanilla": SLOW, **changes}, canary=canary).ready()
    await harness.canary_watch.step(store or FakeCanaryStore())
    return harness


async def answered(harness: Harness, number: int, prefix: str = "r") -> None:
    for index in range(number):
        await harness.answer(request({"x-request-id": f"{prefix}{index}", "x-specroute-tenant": f"t{index}"}))


def labels(harness: Harness) -> list[str]:
    return [outcome.policy.partition("@")[0] for outcome in harness.outcomes]


async def test_a_share_of_the_requests_is_decided_by_the_candidate(tmp_path: Path) -> None:
    """They go where it says, and header, outcome and details name it."""
    harness = await begun(tmp_path)
    await answered(harness, 40)
    decided = {(o.policy.partition("@")[0], o.canary, o.decision.profile) for o in harness.outcomes}
    assert decided == {("next", True, "vanilla"), ("test", False, "ngram")}
    assert 8 < labels(harness).count("next") < 32
    response = await harness.service.respond(request({"x-request-id": "r1"}))
    await response.body.aclose()
    assert response.headers["X-Specroute-Policy"].partition("@")[0] == labels(harness)[-1]


async def test_routers_agree_and_a_restart_changes_nothing(tmp_path: Path) -> None:
    """The same tenant is decided by the same policy wherever and whenever it comes."""
    first, second = [await begun(tmp_path, canary={"by": "tenant"}) for _ in range(2)]
    for harness in (first, second):
        await answered(harness, 40)
    assert labels(first) == labels(second)


async def test_by_tenant_each_tenant_stays_on_one_policy(tmp_path: Path) -> None:
    """All its requests, and about the share of the tenants."""
    harness = await begun(tmp_path, canary={"by": "tenant"})
    for prefix in "ab":
        await answered(harness, 40, prefix)
    found = labels(harness)
    assert found[:40] == found[40:]
    assert 8 < found[:40].count("next") < 32


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "No such file"),
        ("spec: {", "next.yaml:1"),
        (policy_text("next", mode="sideways"), "spec.mode"),
        (policy_text("next", canary=CANARY), "a candidate has no canary of its own"),
    ],
)
async def test_a_broken_candidate_does_not_run(
    tmp_path: Path, text: str | None, complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The policy in force decides all, the reason is told, and logged once; a mended file runs."""
    file = write_next(tmp_path)
    file.unlink() if text is None else file.write_text(text)
    store = FakeCanaryStore()
    harness = await begun(tmp_path, store) if text else await begun_without_file(tmp_path, store)
    for _ in range(3):
        await harness.canary_watch.step(store)
    await answered(harness, 10)
    assert set(labels(harness)) == {"test"}
    assert harness.canary_watch.state.phase == "broken"
    assert complaint in harness.canary_watch.state.why
    assert caplog.text.count("canary rejected") == 1
    write_next(tmp_path)
    await harness.canary_watch.step(store)
    assert harness.canary_watch.state.phase == "running"


async def begun_without_file(folder: Path, store: FakeCanaryStore) -> Harness:
    harness = await Harness(folder, canary=CANARY).ready()
    await harness.canary_watch.step(store)
    return harness


async def test_without_a_policy_file_there_is_no_candidate(tmp_path: Path) -> None:
    """A policy that came through the store says canary, but the deployment names no folder to look in."""
    harness = await begun(tmp_path)
    lost = CanaryWatch(harness.canary, harness.policies, folder=None, clock=harness.clock)
    await lost.step(FakeCanaryStore())
    assert lost.state.phase == "broken"
    assert "policy.path" in lost.state.why


async def test_the_kill_switch_holds_for_everyone_at_once(tmp_path: Path) -> None:
    """From the first request after it, before the canary has noticed anything."""
    harness = await begun(tmp_path)
    harness.policy_file.write_text(policy_text("off", mode="always_vanilla", canary=CANARY))
    assert harness.policies.reload()
    await answered(harness, 20)
    assert set(labels(harness)) == {"off"}
    await harness.canary_watch.step(FakeCanaryStore())
    assert harness.canary_watch.state.phase == "off"
    assert "always_vanilla" in harness.canary_watch.state.why
    await answered(harness, 20)
    assert set(labels(harness)) == {"off"}


async def test_a_candidate_waits_until_the_store_knows_of_no_stop(tmp_path: Path) -> None:
    """Without the store it does not begin; once it runs, an outage does not end it."""
    store = FakeCanaryStore(down=True)
    harness = await begun(tmp_path, store)
    await answered(harness, 20)
    assert (harness.canary_watch.state.phase, set(labels(harness))) == ("waiting", {"test"})
    store.down = False
    harness.clock.now_s += 7.0
    await harness.canary_watch.step(store)
    assert harness.canary.trial is not None
    assert harness.canary.trial.begun_s == harness.clock.now_s
    store.down = True
    await harness.canary_watch.step(store)
    await answered(harness, 20, "later")
    assert (harness.canary_watch.state.phase, set(labels(harness))) == ("running", {"test", "next"})


async def test_evidence_ages_as_the_policy_in_force_says(tmp_path: Path) -> None:
    """What is learned is shared, so a candidate cannot make it forget."""
    write_next(tmp_path, acceptance={"half_life": "1s", "min_steps": 7})
    harness = await begun(tmp_path)
    chosen = [harness.canary.choose(tenant="t", task="code") for _ in range(300)]
    assert {found.policy.acceptance.half_life for found in chosen} == {600.0}
    assert {found.policy.acceptance.min_steps for found in chosen if found.canary} == {7}


async def test_what_a_canary_settles_on_does_not_sway_the_policy_beside_it(tmp_path: Path) -> None:
    """Hysteresis remembers the last choice of each apart."""
    harness = await begun(tmp_path)
    memory = harness.expectations.memory
    write_next(tmp_path, mode="threshold", threshold={"enable_above": 0.0, "disable_below": 0.0})
    await harness.canary_watch.step(FakeCanaryStore())
    for number in range(20):
        await harness.answer(request({"x-request-id": str(number), "x-specroute-tenant": "acme"}))
    assert memory.last("acme", "code", harness.clock.now_s, canary=True) is not None
    assert memory.last("acme", "code", harness.clock.now_s) is None


async def test_a_harmful_candidate_is_stopped_with_its_evidence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log, for the admin and in the store; it stays stopped until its file is another."""
    store = FakeCanaryStore()
    harness = await begun(tmp_path, store)
    await answered(harness, 120)
    with caplog.at_level(logging.ERROR):
        await harness.canary_watch.step(store)
    state = harness.canary_watch.state
    assert (state.phase, harness.canary_watch.stops) == ("stopped", 1)
    assert "canary next@" in caplog.text
    assert "decode time with 95% confidence" in caplog.text
    assert "decode time per token 2.00 times" in caplog.text
    (record,) = (json.loads(text) for text in store.stops.values())
    assert record["because"] == ["decode time"]
    assert record["decode_time"]["lower"] > 1
    before = len(harness.outcomes)
    await answered(harness, 30, "after")
    assert set(labels(harness)[before:]) == {"test"}
    restarted = await begun(tmp_path, store)
    assert restarted.canary_watch.state.phase == "stopped"
    assert (restarted.canary_watch.state.stopped or {})["because"] == ["decode time"]
    write_next(tmp_path, "mended")
    await restarted.canary_watch.step(store)
    assert restarted.canary_watch.state.phase == "running"


async def test_all_routers_stop_and_their_evidence_adds_up(tmp_path: Path) -> None:
    """Neither has enough alone; the one that sees the sum first stops it, the other follows."""
    store = FakeCanaryStore()
    first, second = await begun(tmp_path, store), await begun(tmp_path, store)
    for harness, prefix in ((first, "a"), (second, "b")):
        await answered(harness, 40, prefix)
        store.lose_replies = 1
        await harness.canary_watch.step(store)
        await harness.canary_watch.step(store)
    assert second.canary_watch.state.phase == "stopped"
    comparison = second.canary_watch.state.comparison
    assert comparison is not None
    assert comparison.candidate_requests + comparison.main_requests == 80
    assert first.canary_watch.state.phase == "running"
    await first.canary_watch.step(store)
    assert (first.canary_watch.state.phase, first.canary_watch.stops) == ("stopped", 0)


async def test_a_stop_reaches_a_store_that_was_away(tmp_path: Path) -> None:
    """The router that knows tells it as soon as it is back."""
    store = FakeCanaryStore()
    harness = await begun(tmp_path, store)
    await answered(harness, 120)
    store.down = True
    await harness.canary_watch.step(store)
    assert (harness.canary_watch.state.phase, store.stops) == ("stopped", {})
    store.down = False
    await harness.canary_watch.step(store)
    assert len(store.stops) == 1


@pytest.mark.parametrize(
    ("changes", "counted"),
    [
        ({}, (1, 0, 0)),
        ({"result": "failed", "status": 504}, (1, 1, 0)),
        ({"result": "refused", "status": 429}, (1, 1, 0)),
        ({"result": "cancelled"}, (1, 0, 1)),
        ({"result": "refused", "status": 400}, None),
        ({"total_s": 5.0}, None),
        ({"policy": "other@0"}, None),
        ({"canary": True}, None),
    ],
)
async def test_what_counts(
    tmp_path: Path, changes: dict[str, Any], counted: tuple[int, int, int] | None
) -> None:
    """Answers, failures, refusals for want of room, clients that left.

    Not requests that were wrong by themselves, that began before the trial, or that another policy decided.
    """
    harness = await begun(tmp_path, canary={"share": 0.0})
    await harness.answer()
    running = harness.canary.trial
    assert running is not None
    counts = TrialCounts(running)
    counts.note(replace(harness.outcomes[0], **changes))
    found = list(counts.known().values())
    assert [(count.requests, count.failed, count.cancelled) for count in found] == (
        [counted] if counted else []
    )


async def test_a_clock_that_is_set_back_does_not_blind_a_trial(tmp_path: Path) -> None:
    """It counts from then on, as one that begins."""
    store = FakeCanaryStore()
    harness = await begun(tmp_path, store, canary={"share": 0.0})
    harness.clock.now_s -= 3600.0
    await harness.canary_watch.step(store)
    running = harness.canary.trial
    assert running is not None
    assert running.begun_s == harness.clock.now_s
    assert harness.canary_watch.state.trial is running
    await harness.answer()
    (counts := TrialCounts(running)).note(harness.outcomes[0])
    assert counts.known()


async def promotable(folder: Path, store: FakeCanaryStore) -> tuple[Harness, PolicyAdmin]:
    harness = await begun(folder, store, vanilla=FakePool())
    sync = PolicySync(harness.policies, alone=True)
    await sync.start(FakePolicyStore())
    await harness.canary_watch.step(store)
    return harness, PolicyAdmin(harness.policies, sync, PolicyChanges(sync))


async def test_a_harmless_candidate_waits_for_the_operator(tmp_path: Path) -> None:
    """It is never promoted by itself; promoted, its text is the policy, under the revision it was tried with."""
    store = FakeCanaryStore()
    harness, policy = await promotable(tmp_path, store)
    await answered(harness, 150)
    await harness.canary_watch.step(store)
    async with client_of(harness, policy=policy) as client:
        shown = (await client.get("/admin/v1/canary")).json()
        assert (shown["phase"], shown["verdict"], shown["share"]) == ("running", "undecided", 0.5)
        assert sum(shown["requests"].values()) == 150
        assert shown["decode_time"]["lower"] <= 1 <= shown["decode_time"]["upper"]
        assert [task["task"] for task in shown["tasks"]] == ["code"]
        label = f"{shown['candidate']['name']}@{shown['candidate']['revision']}"
        promoted = await client.post("/admin/v1/policy/promote", headers={"X-Specroute-Author": "ada"})
        assert promoted.status_code == 200, promoted.text
        state = promoted.json()
        assert (f"{state['name']}@{state['revision']}", state["origin"], state["author"]) == (
            label,
            "promote",
            "ada",
        )
        assert state["text"] == (tmp_path / "next.yaml").read_text()
        await harness.canary_watch.step(store)
        assert (await client.get("/admin/v1/canary")).json()["phase"] == "off"
        error_of(await client.post("/admin/v1/policy/promote"), 409)


async def test_promotion_does_not_undo_what_came_between(tmp_path: Path) -> None:
    """A policy that was changed since the canary was looked at stays; so does one that If-Match does not name."""
    harness, policy = await promotable(tmp_path, FakeCanaryStore())
    async with client_of(harness, policy=policy) as client:
        error_of(await client.post("/admin/v1/policy/promote", headers={"If-Match": '"0123456789ab"'}), 412)
        off = policy_text("off", mode="always_vanilla")
        put = await client.put("/admin/v1/policy", content=off, headers={"If-Match": "*"})
        assert put.status_code == 200
        error = error_of(await client.post("/admin/v1/policy/promote", headers={"If-Match": "*"}), 412)
    assert "tried beside" in error["message"]
    assert harness.policies.state.name == "off"


async def test_a_candidate_that_was_edited_is_the_one_that_is_promoted(tmp_path: Path) -> None:
    """At once, also while nothing was counted of either text."""
    store = FakeCanaryStore()
    harness, policy = await promotable(tmp_path, store)
    edited = write_next(tmp_path, "edited").read_text()
    await harness.canary_watch.step(store)
    async with client_of(harness, policy=policy) as client:
        assert (await client.get("/admin/v1/canary")).json()["candidate"]["name"] == "edited"
        assert (await client.post("/admin/v1/policy/promote")).json()["text"] == edited


async def test_an_unexpected_failure_leaves_the_policy_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The phase says so, nobody is decided by the candidate meanwhile, and it goes on once it works."""
    store = FakeCanaryStore()
    harness = await begun(tmp_path, store)
    await answered(harness, 10)
    looks = []

    async def ends_after_two(_: float) -> None:
        looks.append((harness.canary_watch.state.phase, harness.canary.trial))
        if len(looks) == 2:
            raise asyncio.CancelledError

    def broken(*_: object, **__: object) -> NoReturn:
        raise OverflowError

    monkeypatch.setattr(harness.canary_watch, "_sleep", ends_after_two)
    with monkeypatch.context() as patch:
        patch.setattr(TrialCounts, "compare", broken)
        with pytest.raises(asyncio.CancelledError):
            await harness.canary_watch.run(store, 1.0)
    assert looks == [("broken", None)] * 2
    await harness.canary_watch.step(store)
    assert harness.canary_watch.state.phase == "running"


async def test_what_was_stopped_is_not_promoted(tmp_path: Path) -> None:
    """The error says why and what to do."""
    store = FakeCanaryStore()
    harness = await begun(tmp_path, store)
    await answered(harness, 120)
    await harness.canary_watch.step(store)
    async with client_of(harness) as client:
        error = error_of(await client.post("/admin/v1/policy/promote"), 409)
    assert "found to be worse; change its file" in error["message"]


async def test_metrics_tell_the_phase_and_the_ratio(tmp_path: Path) -> None:
    """One phase is 1; requests of both; the ratio with its bounds."""
    store = FakeCanaryStore()
    harness = await begun(tmp_path, store)
    collector = CanaryCollector(harness.canary_watch)
    await answered(harness, 120)
    await harness.canary_watch.step(store)
    found = {metric.name: metric.samples for metric in collector.collect()}
    assert [s.labels["phase"] for s in found["specroute_canary_phase"] if s.value] == ["stopped"]
    assert found["specroute_canary_stops"][0].value == 1
    assert sum(sample.value for sample in found["specroute_canary_requests"]) == 120


def test_a_canary_has_the_tasks_of_the_policy_in_force(tmp_path: Path) -> None:
    """Whichever decides, requests are classified once."""
    harness = Harness(tmp_path, custom_tasks=[{"name": "invoices"}])
    assert "invoices" in Canary(harness.policies, clock=harness.clock).tasks
