"""What is expected of a request, learned from those before it."""

from pathlib import Path
from typing import Any

import pytest
from fakes import FakePool, Harness, ending, request, whole

from policies.decide import Work
from policies.memory import Home
from router.expectations import predicted_decode_s

pytestmark = pytest.mark.unit

LONG = ending(completion_tokens=400, prompt_tokens=90, cached_tokens=0, decode_s=4.0)


async def harness_with(folder: Path, *endings: Any, **spec: Any) -> Harness:
    frames = [[whole(ending=given)] for given in endings]
    return await Harness(folder, ngram=FakePool(*frames), **spec).ready()


def expected(harness: Harness, task: str = "code", **fields: Any) -> Work:
    given = request({"x-specroute-tenant": "acme"}, **fields)
    now_s = harness.clock.now_s
    home = harness.expectations.memory.home(given.conversation.before, 300.0, now_s)
    return harness.expectations.work(given, task, home, now_s)


async def test_lengths_are_learned_by_task_and_capped_by_the_request(tmp_path: Path) -> None:
    """Long answers of a task make longer ones expected, never more than max_tokens allows."""
    harness = await harness_with(tmp_path, LONG)
    before = expected(harness)
    for _ in range(8):
        await harness.answer(request({"x-specroute-task": "code"}))
    after = expected(harness)
    assert after.output_tokens > before.output_tokens + 100
    assert expected(harness, "qa").output_tokens == before.output_tokens
    assert expected(harness, max_tokens=20).output_tokens <= 20
    assert expected(harness, max_completion_tokens=20).output_tokens <= 20
    assert expected(harness, max_tokens="20").output_tokens == after.output_tokens
    assert expected(harness, max_tokens=10**400).output_tokens == pytest.approx(after.output_tokens, rel=0.01)


async def test_prompt_lengths_follow_what_bytes_turned_out_to_be(tmp_path: Path) -> None:
    """Tokens per byte of the model in use."""
    harness = await harness_with(tmp_path, ending(prompt_tokens=60))
    bytes_per_request = len(request({"x-specroute-task": "code"}).body)
    for _ in range(60):
        await harness.answer(request({"x-specroute-task": "code"}))
    assert expected(harness).prompt_tokens == pytest.approx(
        60 / bytes_per_request * len(request({"x-specroute-tenant": "acme"}).body), rel=0.2
    )


async def test_the_next_turn_expects_its_prefix_where_the_last_one_was(tmp_path: Path) -> None:
    """On the pool that answered, with the tokens of the whole turn."""
    harness = await harness_with(tmp_path, ending(prompt_tokens=50, completion_tokens=11))
    first = [{"role": "user", "content": "hello"}]
    await harness.answer(request({"x-specroute-tenant": "acme"}, messages=first))
    second = [*first, {"role": "assistant", "content": "hi"}, {"role": "user", "content": "and now?"}]
    assert expected(harness, messages=second).cached == {"ngram": 61}
    assert expected(harness, messages=first).cached is None
    harness.clock.now_s += 301
    assert expected(harness, messages=second).cached is None


async def test_the_home_of_a_conversation_is_who_answered_last(tmp_path: Path) -> None:
    """By the replica's own name."""
    given = [ending(replica=replica, prompt_tokens=50, completion_tokens=11) for replica in ("a", "b")]
    harness = await harness_with(tmp_path, *given)
    for home in given:
        turn = request(messages=[{"role": "user", "content": "hello"}])
        await harness.answer(turn)
        found = harness.expectations.memory.home(turn.conversation.after, 300.0, harness.clock.now_s)
        assert found == Home("ngram", home.replica, 61)


async def test_predictions_are_compared_with_what_was_measured(tmp_path: Path) -> None:
    """Per token, since nobody knew how many there would be."""
    harness = await harness_with(tmp_path, LONG)
    await harness.answer(request({"x-specroute-task": "code"}))
    (outcome,) = harness.outcomes
    predicted = predicted_decode_s(outcome.decision.score, outcome.work, 400)
    assert predicted is not None
    found = harness.expectations.predictions.accuracy("ngram", harness.clock.now_s)
    assert found is not None
    assert found.ratio == pytest.approx(predicted / 4.0)
    assert predicted_decode_s(None, None, 400) is None


async def test_refused_requests_teach_nothing(tmp_path: Path) -> None:
    """An error object is no answer."""
    harness = await harness_with(tmp_path, LONG)
    harness.ngram.scripts = [[whole(status=400, ending=LONG)]]
    before = expected(harness)
    await harness.answer(request({"x-specroute-task": "code"}))
    assert expected(harness) == before
    assert harness.expectations.predictions.accuracy("ngram", harness.clock.now_s) is None
