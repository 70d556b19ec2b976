"""A canary's candidate that cannot decide: nobody's request is lost for it, and it counts as harm."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
from fakes import FakePool, Harness, gone, policy_text, request

from router.canary_store import FakeCanaryStore
from router.deciding import Choice
from router.errors import ApiError

pytestmark = pytest.mark.unit


async def tried(folder: Path, **changes: Any) -> tuple[Harness, FakeCanaryStore]:
    """A service that tries another policy on half of the requests."""
    (folder / "next.yaml").write_text(policy_text("next", mode="always_vanilla"))
    canary = {"policy": "next.yaml", "share": "50%", "stop": {"min_requests": 30}}
    harness = await Harness(folder, canary=canary, **changes).ready()
    store = FakeCanaryStore()
    await harness.canary_watch.step(store)
    assert harness.canary_watch.state.phase == "running"
    return harness, store


class BrokenTable:
    """Settings of a policy that cannot be put together."""

    def resolve(self, **_: object) -> NoReturn:
        raise ZeroDivisionError


def break_candidate(harness: Harness, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """From now on the candidate's settings cannot be read, or nothing can be decided by them."""
    if where == "settings":
        assert harness.canary.trial is not None
        broken_table: Any = BrokenTable()
        harness.canary.trial = replace(harness.canary.trial, table=broken_table)
        return
    decide = harness.decider.decide

    def broken(*given: Any, canary: bool = False, **more: Any) -> Choice:
        if canary:
            raise ZeroDivisionError
        return decide(*given, canary=canary, **more)

    monkeypatch.setattr(harness.decider, "decide", broken)


async def test_a_candidate_that_cannot_decide_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests that the policy in force had to decide in its place are requests of its that failed."""
    harness, store = await tried(tmp_path)
    break_candidate(harness, monkeypatch, "decision")
    for number in range(120):
        await harness.answer(request({"x-specroute-tenant": f"t{number}"}))
    await harness.canary_watch.step(store)
    state = harness.canary_watch.state
    assert state.phase == "stopped"
    assert state.comparison is not None
    assert state.comparison.failed.candidate == sum(outcome.instead for outcome in harness.outcomes)
    assert not state.comparison.failed.main


@pytest.mark.parametrize("where", ["decision", "settings"])
async def test_the_policy_in_force_decides_for_a_candidate_that_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    """Every request is answered, under the name of the policy that decided; the log says it once."""
    harness, _ = await tried(tmp_path)
    break_candidate(harness, monkeypatch, where)
    with caplog.at_level(logging.ERROR):
        for number in range(40):
            await harness.answer(request({"x-specroute-tenant": f"t{number}"}))
    assert {(o.policy.partition("@")[0], o.canary, o.result) for o in harness.outcomes} == {
        ("test", False, "completed")
    }
    assert 0 < sum(outcome.instead for outcome in harness.outcomes) < 40
    (told,) = [record.getMessage() for record in caplog.records]
    assert "next@" in told
    assert "test@" in told
    assert harness.idle


async def test_an_answer_that_only_says_what_is_wrong_is_not_the_candidates_fault(
    tmp_path: Path,
) -> None:
    """Where no engine is there, no policy could have decided otherwise."""
    harness, _ = await tried(tmp_path, vanilla=FakePool([gone()]), ngram=FakePool([gone()]))
    for number in range(8):
        with pytest.raises(ApiError):
            await harness.answer(request({"x-specroute-tenant": f"t{number}"}))
    assert not any(outcome.instead for outcome in harness.outcomes)


async def test_a_failure_without_a_canary_stays_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no other policy to fall back to."""
    harness = await Harness(tmp_path).ready()

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(harness.decider, "decide", broken)
    with pytest.raises(ZeroDivisionError):
        await harness.answer(request())
    assert harness.idle
