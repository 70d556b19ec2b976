"""What a calibration sends, and what it reads of the answers."""

from dataclasses import replace

import httpx
import pytest
from calibrated_service import FACTS, PretendedService

from policies.calibrating import Side
from policies.replay import Lookup
from router.calibrating import asking as module
from router.calibrating.asking import AnswerError, Asker
from router.calibrating.prompts import Prompt
from router.calibrating.service import Facts

pytestmark = pytest.mark.unit

PROMPT = Prompt("p", "invoices", [{"role": "user", "content": "Hello"}], "code")
DRAFTING = Side("ngram", 4, 0.7, 0.9, 1)


def asker(service: PretendedService, facts: Facts = FACTS) -> Asker:
    return Asker("http://x", facts, max_tokens=64, api_key="key", transport=service.transport)


async def test_a_side_is_asked_for_by_headers_and_sampling() -> None:
    """Pool, k, temperature and top_p; the answer says what the service did."""
    service = PretendedService(code=0.8)
    async with asker(service) as ask:
        found = await ask.ask(PROMPT, DRAFTING)
        await ask.ask(PROMPT, DRAFTING._replace(profile="vanilla", k=0))
    (body, headers), (_, plain) = service.asked
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.7, 0.9, 64)
    assert headers["authorization"] == "Bearer key"
    wanted = ("x-specroute-route", "x-specroute-k", "x-specroute-profile", "x-specroute-task")
    assert [headers[name] for name in wanted] == ["speculative", "4", "ngram", "code"]
    assert (plain["x-specroute-route"], plain.get("x-specroute-k")) == ("vanilla", None)
    assert (found.domain, found.task, found.profile, found.k) == ("invoices", "code", "ngram", 4)
    assert found.as_asked
    assert found.steps.problem() is None


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ({"reason": "gain"}, "the service decided itself \\(gain\\): does its policy still say"),
        ({"per_step_accepted": None}, "its steps are not complete"),
        ({"failovers": 1}, "its steps are not complete"),
        ({"k": None}, "the answer has no account of itself"),
    ],
)
async def test_an_answer_that_is_no_evidence_is_a_failure(told: dict[str, object], problem: str) -> None:
    """And says why."""
    service = PretendedService(code=0.8)
    service.told = told
    async with asker(service) as ask:
        with pytest.raises(AnswerError, match=problem):
            await ask.ask(PROMPT, DRAFTING)


async def test_a_busy_service_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time it names, a few times."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    service = PretendedService(code=0.8)
    busy = httpx.Response(429, headers={"retry-after": "7"}, json={"error": {"message": "full"}})
    service.problems = [busy, httpx.Response(503, json={})]
    async with asker(service) as ask:
        await ask.ask(PROMPT, DRAFTING)
        assert slept == [7.0, 2.0]
        service.problems = [busy] * 4
        with pytest.raises(AnswerError, match="HTTP 429: full"):
            await ask.ask(PROMPT, DRAFTING)


async def test_a_refusal_is_told_by_its_message() -> None:
    """Whatever form it has."""
    service = PretendedService(code=0.8)
    service.problems = [
        httpx.Response(400, json={"error": {"message": "no such\nmodel"}}),
        httpx.Response(502),
    ]
    async with asker(service) as ask:
        with pytest.raises(AnswerError, match="HTTP 400: no such model"):
            await ask.ask(PROMPT, DRAFTING)
        with pytest.raises(AnswerError, match="HTTP 502"):
            await ask.ask(PROMPT, DRAFTING)


async def test_copying_drafters_are_replayed_where_tokens_are_told() -> None:
    """At every k, as the service itself does with every answer."""
    service = PretendedService(code=0.8)
    service.besides = {
        "prompt_token_ids": [1, 2, 3, 4, 1, 2],
        "choices": [{"token_ids": [3, 4, 1, 2, 3]}],
    }
    facts = replace(FACTS, max_model_len=100, lookups={"ngram": Lookup(2, 5)})
    async with asker(service, facts) as ask:
        found = await ask.ask(PROMPT, Side("vanilla", 0, 0.0, 1.0, 1))
    assert service.asked[0][0]["return_token_ids"] is True
    assert found.replays["ngram"]["requests"] == 1
    assert {f"steps:{k}" for k in range(1, 9)} <= set(found.replays["ngram"])
