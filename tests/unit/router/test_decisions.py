"""The newest decisions: found by what is asked for, each explained."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import T0, Clock, FakePool, Harness, gone, request, whole

from policies.decide import Reason
from router.decisions import Decisions, read_query
from router.errors import BadRequestError
from router.explanations import explanation
from router.outcomes import Outcome

pytestmark = pytest.mark.unit


async def served(folder: Path, clock: Clock | None = None) -> tuple[Decisions, list[Outcome]]:
    """After six requests of two tenants and two tasks, a minute apart."""
    harness = await Harness(folder).ready()
    for number in range(6):
        headers = {
            "x-request-id": f"r{number}",
            "x-specroute-tenant": "acme" if number % 2 else "beta",
            "x-specroute-task": "code" if number < 3 else "qa",
        }
        await harness.answer(request(headers))
        harness.clock.now_s += 60
    decisions = Decisions(clock or harness.clock)
    for outcome in harness.outcomes:
        decisions.on_outcome(outcome)
    return decisions, harness.outcomes


def ids(decisions: Decisions, **given: str) -> list[str]:
    return [entry["request_id"] for entry in decisions.listed(given)["decisions"]]


async def test_decisions_come_newest_first(tmp_path: Path) -> None:
    """They can be limited and looked up by request id, and are JSON for every result."""
    harness = await Harness(tmp_path, ngram=FakePool([whole()], [gone()], [whole()])).ready()
    decisions = Decisions(harness.clock)
    for number in range(3):
        await harness.answer(request({"x-request-id": f"r{number}"}))
        await harness.pools.poll()
    for outcome in harness.outcomes:
        decisions.on_outcome(outcome)
    answer = decisions.listed({"limit": "2"})
    assert [entry["request_id"] for entry in answer["decisions"]] == ["r2", "r1"]
    assert json.dumps(answer, allow_nan=False)
    (entry,) = decisions.listed({"request_id": "r1"})["decisions"]
    assert (entry["reason"], entry["failovers"], entry["profile"]) == ("failover", 1, "vanilla")
    assert entry.keys() >= {"task", "tenant", "route", "k", "propensity", "result", "status", "policy"}
    assert entry["explanation"].startswith("The pool that was chosen first failed")
    assert not decisions.listed({"request_id": "unknown"})["decisions"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"tenant": "acme"}, [5, 3, 1]),
        ({"task": "code"}, [2, 1, 0]),
        ({"tenant": "acme", "task": "qa"}, [5, 3]),
        ({"tenant": "acme", "limit": "1"}, [5]),
        ({"route": "speculative"}, [5, 4, 3, 2, 1, 0]),
        ({"route": "vanilla"}, []),
        ({"profile": "ngram", "result": "completed", "reason": "mode"}, [5, 4, 3, 2, 1, 0]),
        ({"reason": "gain"}, []),
        ({"policy": "test"}, [5, 4, 3, 2, 1, 0]),
        ({"policy": "test@other"}, []),
        ({"since": "2m30s"}, [5, 4]),
        ({"since": f"{T0 + 180:.0f}"}, [5, 4, 3]),
        ({"since": "2023-11-14T22:17:21+00:00"}, [5]),
        ({"since": "2023-11-14T23:17:21+01:00"}, [5]),
        ({"since": "2023-11-14T23:17:21 01:00"}, [5]),  # as a query has it where the plus is not encoded
        ({"since": "2023-11-14 22:17:21 00:00"}, [5]),
    ],
)
async def test_filters(tmp_path: Path, given: dict[str, str], expected: list[int]) -> None:
    """Each alone and together; a policy with or without its revision, a moment however it is written."""
    decisions, _ = await served(tmp_path)
    assert ids(decisions, **given) == [f"r{number}" for number in expected]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("limit", "0", "1 to 1000"),
        ("limit", "1001", "1 to 1000"),
        ("limit", "x", "1 to 1000"),
        ("limit", "٣", "1 to 1000"),
        ("reason", "gian", "gain"),
        ("route", "fast", "speculative"),
        ("result", "done", "completed"),
        ("since", "yesterday", "10m"),
        ("since", "10", None),
        ("since", "9999-99-99", "10m"),
        ("tennant", "acme", "tenant"),
    ],
)
def test_what_cannot_be_asked(name: str, value: str, said: str | None) -> None:
    """The parameter is named, with what it may be."""
    if said is None:
        assert read_query({name: value}, T0).since_s == 10
        return
    with pytest.raises(BadRequestError) as refused:
        read_query({name: value}, T0)
    assert refused.value.param == name
    assert said in str(refused.value)


async def test_it_is_written_in_parts_that_give_others_a_turn(tmp_path: Path) -> None:
    """Together they are the JSON of what is listed, each with few entries, whatever number there is."""
    _, outcomes = await served(tmp_path)
    decisions = Decisions(Clock())
    for number in range(131):
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        if number % 26 == 0:
            waiting = asyncio.create_task(others())
            parts = [part async for part in decisions.written({"limit": "1000"})]
            waiting.cancel()
            assert json.loads(b"".join(parts)) == decisions.listed({"limit": "1000"})
            assert max(part.count(b'"request_id"') for part in parts) <= 20
            assert turns >= number / 20
        decisions.on_outcome(outcomes[number % len(outcomes)])


async def test_only_so_many_are_kept(tmp_path: Path) -> None:
    """The oldest go."""
    _, outcomes = await served(tmp_path)
    decisions = Decisions(Clock(), kept=4)
    for outcome in outcomes:
        decisions.on_outcome(outcome)
    assert ids(decisions) == ["r5", "r4", "r3", "r2"]


async def test_the_arm_in_use(tmp_path: Path) -> None:
    """The last that was chosen for a tenant's task and for anybody's; chance, outages and canaries apart."""
    decisions, outcomes = await served(tmp_path)
    assert decisions.arm("code", "gamma") is None
    arm = decisions.arm("qa", "acme")
    assert arm is not None
    assert arm == {"profile": "ngram", "k": outcomes[-1].decision.k, "reason": "mode", "at": T0 + 300}
    tried = replace(outcomes[-1].decision, profile="vanilla", k=0, reason=Reason.EXPLORATION)
    decisions.on_outcome(replace(outcomes[-1], decision=tried))
    plainly = replace(tried, reason=Reason.NO_GAIN)
    decisions.on_outcome(replace(outcomes[-1], decision=plainly, canary=True))
    assert decisions.arm("qa", None) == arm
    shadow = replace(tried, reason=Reason.SHADOW, intended=("ngram", 3))
    decisions.on_outcome(replace(outcomes[-1], decision=shadow))
    assert decisions.arm("qa", None) == {
        "profile": "ngram",
        "k": 3,
        "reason": "shadow",
        "at": outcomes[-1].at_s,
    }


NUMBERS: dict[str, Any] = {
    "profile": "ngram",
    "k": 4,
    "propensity": 0.0175,
    "intended": None,
    "expected_speedup": 1.234,
    "confidence": 0.9995,
    "alpha": 0.617,
}


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_sentence(reason: Reason) -> None:
    """One sentence, with and without what may be unknown."""
    for entry in (NUMBERS, {**NUMBERS, "expected_speedup": None, "confidence": None, "alpha": None, "k": 0}):
        for intended in (None, ["draft", 3]):
            sentence = explanation({**entry, "reason": reason.value, "intended": intended})
            assert sentence[0].isupper()
            assert sentence.endswith(".")
            assert "None" not in sentence
            assert "{" not in sentence


@pytest.mark.parametrize(
    ("reason", "changes", "words"),
    [
        ("gain", {}, ["ngram with k = 4", "1.23 times", "99.95 %"]),
        ("no_gain", {"profile": "vanilla", "k": 0, "expected_speedup": 0.8}, ["0.80 times", "alpha 0.62"]),
        ("uncertain", {"confidence": 0.5}, ["min_speedup", "50 %"]),
        ("alpha_above", {}, ["enable_above", "alpha 0.62"]),
        ("alpha_below", {"profile": "vanilla", "k": 0}, ["disable_below", "plain decoding on vanilla"]),
        ("exploration", {}, ["at random", "1.8 %"]),
        ("holdout", {"propensity": 0.05}, ["at random", "5.0 %"]),
        (
            "shadow",
            {"profile": "vanilla", "k": 0, "intended": ["ngram", 6]},
            ["ngram with k = 6 was decided"],
        ),
        ("saturated", {"intended": ["ngram", 6]}, ["full (ngram with k = 6)"]),
        ("cold_start", {}, ["min_steps"]),
    ],
)
def test_a_sentence_has_its_numbers(reason: str, changes: dict[str, Any], words: list[str]) -> None:
    """Those that decided."""
    sentence = explanation({**NUMBERS, "reason": reason, **changes})
    assert all(word in sentence for word in words), sentence
