"""Engines that break off at any token, and streams whose clients do not notice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fakes import (
    CHAT,
    NGRAM,
    T0,
    VANILLA,
    FakePool,
    Harness,
    Script,
    Step,
    gone,
    last,
    more,
    opening,
    request,
    settled,
    state_of,
    whole,
)
from hypothesis import given
from hypothesis import strategies as st

from replicas.fake import FakeEngine, FakeSettings
from replicas.frames import Call, Frame, ReplicaBusyError, ReplicaError, packed, unpacked
from replicas.profiles import ModelSpec, Profile
from router.failover import MAX_RETRIES, RetryBudget, is_continuable
from router.telemetry import Metrics

pytestmark = pytest.mark.unit

TEXT = "/v1/completions"
USAGE = {"stream": True, "stream_options": {"include_usage": True}}


class EnginePool(FakePool):
    """A fake engine in this process. Call number n breaks off after `lives[n]` frames."""

    def __init__(self, profile: Profile) -> None:
        super().__init__()
        self._engine = FakeEngine(profile, ModelSpec(), FakeSettings(step_ms=0, prefill_ms=0))
        self.lives: list[int] = []

    async def serve(
        self, call: Call, home: str = "", avoid: frozenset[str] = frozenset()
    ) -> AsyncGenerator[Frame, None]:
        self.calls.append(call)
        left = self.lives.pop(0) if self.lives else None
        self.open += 1
        try:
            async for frame in self._engine.serve(call):
                if left == 0:
                    raise ReplicaError("gone", replica=f"replica {len(self.calls)}")
                left = None if left is None else left - 1
                yield frame
        finally:
            self.open -= 1


class Read(NamedTuple):
    """What a client makes of a stream."""

    heads: set[tuple[Any, ...]]
    roles: int
    text: str
    reasons: list[str]
    usage: dict[str, int] | None
    error: dict[str, Any] | None
    details: dict[str, Any]


def read(body: bytes) -> Read:
    """A stream's events, which must end with [DONE]."""
    *events, done, rest = body.decode().split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    objects = [json.loads(event.removeprefix("data: ")) for event in events]
    error = objects.pop()["error"] if "error" in objects[-1] else None
    choices = [choice for found in objects for choice in found["choices"]]
    deltas = [choice.get("delta", choice) for choice in choices]
    return Read(
        heads={(found["id"], found["object"], found["created"], found["model"]) for found in objects},
        roles=sum("role" in delta for delta in deltas),
        text="".join(delta.get("content", "") + delta.get("text", "") for delta in deltas),
        reasons=[choice["finish_reason"] for choice in choices if choice["finish_reason"]],
        usage=objects[-1].get("usage"),
        error=error,
        details=objects[-1].get("specroute", {}),
    )


async def engines(folder: Path, *, replicas: int = 1) -> tuple[Harness, EnginePool, EnginePool]:
    """A service over two pools of fake engines."""
    vanilla, ngram = EnginePool(VANILLA), EnginePool(NGRAM)
    plain, drafting = (profile.model_copy(update={"replicas": replicas}) for profile in (VANILLA, NGRAM))
    harness = await Harness(folder, vanilla=vanilla, ngram=ngram, profiles=(plain, drafting)).ready()
    return harness, vanilla, ngram


@given(
    tokens=st.integers(2, 40),
    first=st.integers(0, 40),
    second=st.integers(0, 40),
    path=st.sampled_from([CHAT, TEXT]),
    details=st.booleans(),
)
async def test_a_stream_that_breaks_off_anywhere(
    tmp_path_factory: pytest.TempPathFactory,
    *,
    tokens: int,
    first: int,
    second: int,
    path: str,
    details: bool,
) -> None:
    """Broken off up to twice: the text, events, usage and tokens are an unbroken stream's; one outcome, no debts."""
    harness, vanilla, ngram = await engines(tmp_path_factory.mktemp("broken"), replicas=9)
    fields = {"prompt": "what follows?", "max_tokens": tokens, **USAGE}
    headers = {"x-request-id": "same"} | ({"x-specroute-details": "1"} if details else {})
    expected = read(await harness.answer(request(headers, path=path, **fields)))
    ngram.lives = [first, second]
    found = read(await harness.answer(request(headers, path=path, **fields)))
    assert found._replace(heads=set(), details={}) == expected._replace(heads=set(), details={})
    assert len(found.heads) == 1
    assert found.usage is not None
    assert found.usage["completion_tokens"] == tokens
    outcome = harness.outcomes[1]
    assert len(harness.outcomes) == 2
    assert outcome.result == "completed"
    assert outcome.ending is not None
    assert outcome.ending.completion_tokens == tokens
    calls = [*ngram.calls[1:], *vanilla.calls]
    assert outcome.failovers == len(calls) - 1
    assert outcome.continued == sum(call.resume is not None for call in calls)
    assert (found.details.get("failovers", outcome.failovers)) == outcome.failovers
    assert harness.idle
    # Steps are evidence of the tokens that were made with them, and of no others.
    made_here = tokens - outcome.ending.continued_after
    assert made_here == 1 + sum(1 + accepted for accepted in outcome.ending.per_step_accepted)
    assert (outcome.ending.decode_s is None) == (outcome.ending.continued_after > 0)


async def test_the_tokens_go_along(tmp_path: Path) -> None:
    """The next replica gets prompt, tokens and head as the frames brought them; the answer can be replayed."""
    harness, vanilla, ngram = await engines(tmp_path)
    ngram.lives = [3]
    frames: list[Frame] = []
    note = harness.service._note
    harness.service._note = lambda dispatch, frame: (frames.append(frame), note(dispatch, frame))[1]  # type: ignore[method-assign, assignment]
    await harness.answer(request(stream=True, max_tokens=20))
    (call,) = vanilla.calls
    assert call.resume is not None
    sent = [token for frame in frames[:3] for token in frame.token_ids]
    assert unpacked(call.resume.token_ids) == sent
    assert call.resume.prompt_token_ids == frames[0].prompt_token_ids != b""
    assert call.resume.head == frames[0].head
    assert sum(len(frame.token_ids) for frame in frames) == 20
    assert harness.outcomes[0].decision.profile == "vanilla"


async def test_the_details_tell(tmp_path: Path) -> None:
    """Where it was answered in the end, how often it moved and after how many tokens; no steps of a part."""
    harness, vanilla, ngram = await engines(tmp_path)
    ngram.lives = [2]
    found = read(await harness.answer(request({"x-specroute-details": "1"}, stream=True, max_tokens=20)))
    (call,) = vanilla.calls
    assert call.resume is not None
    assert found.details["continued_after"] == len(call.resume.token_ids) // 4
    assert (found.details["failovers"], found.details["profile"]) == (1, "vanilla")
    assert found.details["reason"] == "failover"
    assert found.details["steps"] is found.details["per_step_accepted"] is found.details["measured_s"] is None


async def test_what_was_moved_is_counted_by_stage(tmp_path: Path) -> None:
    """Before the first token and in the middle of a stream."""
    harness, _, ngram = await engines(tmp_path)
    metrics = Metrics(state_of(harness))
    for lives, stream in ((0, True), (0, False), (4, True)):
        ngram.lives = [lives]
        await harness.answer(request(stream=stream, max_tokens=30))
        harness.clock.now_s += 100
        await harness.pools.poll()
    for outcome in harness.outcomes:
        metrics.on_outcome(outcome)
    page = metrics.exposition().decode()
    assert 'specroute_failovers_total{stage="before_first_token"} 2.0' in page
    assert 'specroute_failovers_total{stage="mid_stream"} 1.0' in page


@pytest.mark.parametrize(
    ("fields", "continuable"),
    [
        ({}, True),
        ({"logprobs": True, "stop": ["x"], "tools": None}, True),
        ({"response_format": {"type": "text"}}, True),
        ({"response_format": {"type": "json_object"}}, False),
        ({"response_format": "json"}, False),
        ({"structured_outputs": {"regex": "a"}}, False),
        ({"tools": [{"type": "function"}]}, False),
        ({"echo": True}, False),
        ({"use_beam_search": True}, False),
    ],
)
def test_what_fields_allow(fields: dict[str, Any], continuable: bool) -> None:
    """Requests whose engine keeps a state that tokens do not bring back are not continued."""
    assert is_continuable(fields) == continuable


@pytest.mark.parametrize(
    "script",
    [
        [opening(b"data: 1\n\n"), gone()],
        [opening(b"data: 1\n\n")._replace(head=b"{"), gone()],
        [opening(b"data: 1\n\n")._replace(head=b"{", prompt_token_ids=packed([1]), token_ids=()), gone()],
    ],
    ids=["no head", "no prompt", "no tokens"],
)
async def test_a_stream_that_cannot_be_continued_ends_cleanly(tmp_path: Path, script: Script) -> None:
    """With an error and [DONE]; nothing is sent twice."""
    harness = await Harness(tmp_path, ngram=FakePool(script)).ready()
    body = await harness.answer(request(stream=True))
    assert body.startswith(b"data: 1\n\ndata: ")
    assert json.loads(body.split(b"\n\n")[1].removeprefix(b"data: "))["error"]["code"] == 503
    assert not harness.vanilla.calls
    assert harness.idle


def begun(data: bytes = b"data: one\n\n") -> Frame:
    """The first frame of a stream that can be continued."""
    return opening(data)._replace(head=b'{"id":"x",', prompt_token_ids=packed([7, 8]))


async def test_a_refusal_to_go_on_is_never_mixed_into_the_stream(tmp_path: Path) -> None:
    """An engine that answers with an error object instead is one more that failed."""
    harness = await Harness(
        tmp_path, ngram=FakePool([begun(), gone()]), vanilla=FakePool([whole(b'{"error":{}}', 400)])
    ).ready()
    body = await harness.answer(request(stream=True))
    assert b'"error":{}' not in body
    assert b"ServiceUnavailableError" in body
    assert body.endswith(b"data: [DONE]\n\n")
    assert harness.outcomes[0].result == "failed"
    assert harness.idle


async def test_a_request_moves_so_often_and_no_more(tmp_path: Path) -> None:
    """One that ends every engine it meets must not end them all."""
    several = NGRAM.model_copy(update={"replicas": 9})
    dying: Script = [ReplicaError("gone", process="a")]
    harness = await Harness(tmp_path, ngram=FakePool(dying), profiles=(VANILLA, several)).ready()
    harness.vanilla.scripts = [dying]
    await harness.answer_fails(request())
    assert len(harness.ngram.calls) + len(harness.vanilla.calls) == 1 + MAX_RETRIES
    assert [outcome.failovers for outcome in harness.outcomes] == [MAX_RETRIES]
    assert harness.idle


async def test_a_full_queue_is_an_answer(tmp_path: Path) -> None:
    """A request that finds one is told to come back; one that has moved already tries elsewhere once more."""
    busy = ReplicaBusyError("full")
    harness = await Harness(tmp_path, ngram=FakePool([busy])).ready()
    await harness.answer_fails(request())
    assert harness.outcomes[0].status == 429
    several = NGRAM.model_copy(update={"replicas": 2})
    known = ReplicaError("gone", replica="a")
    harness = await Harness(tmp_path, ngram=FakePool([known], [busy]), profiles=(VANILLA, several)).ready()
    assert await harness.answer() == b'{"id":"x"}'
    assert harness.outcomes[0].failovers == 2


async def test_the_same_pool_answers_when_only_one_of_its_replicas_is_gone(tmp_path: Path) -> None:
    """The failed one is named as to be avoided, and a conversation's home that failed is none."""
    several = NGRAM.model_copy(update={"replicas": 3})
    ngram = FakePool([ReplicaError("gone", replica="a")], [whole()])
    harness = await Harness(tmp_path, ngram=ngram, profiles=(VANILLA, several)).ready()
    await harness.answer()
    assert ngram.avoided == [frozenset(), {"a"}]
    assert not harness.vanilla.calls
    assert [state.available for state in harness.pools] == [True, True]


async def test_the_deadline_ends_a_wait_for_a_turn(skipping: None, tmp_path: Path) -> None:
    """Retries wait in line, but not beyond the time the request has."""
    harness = await Harness(tmp_path, ngram=FakePool([gone()]), limits={"deadline": "20ms"}).ready()
    budget = harness.service._failover._budget
    for _ in range(budget.limit):
        await budget.turn()
    await harness.answer_fails(request())
    assert harness.outcomes[0].status == 504
    assert budget.retries == budget.limit
    assert budget.requests == 0
    assert harness.idle


async def test_the_budget_grows_with_the_requests() -> None:
    """A fifth of them, and three at least; those over it go first come, first served."""
    budget = RetryBudget()
    assert budget.limit == 3
    budget.requests = 50
    assert budget.limit == 10
    order: list[int] = []

    async def retry(number: int) -> None:
        await budget.turn()
        order.append(number)

    waiting = [asyncio.create_task(retry(number)) for number in range(14)]
    assert await settled(lambda: len(order) == 10)
    waiting[10].cancel()
    await settled(waiting[10].done)
    for _ in range(10):
        budget.done()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert order == [*range(10), 11, 12, 13]
    for _ in range(3):
        budget.done()
    assert budget.retries == 0


async def test_a_turn_that_comes_too_late_is_given_back() -> None:
    """To the next in line."""
    budget = RetryBudget(minimum=1)
    await budget.turn()
    late, after = (asyncio.create_task(budget.turn()) for _ in range(2))
    await asyncio.sleep(0)
    budget.done()
    late.cancel()
    await asyncio.gather(late, after, return_exceptions=True)
    assert (late.cancelled(), after.done(), budget.retries) == (True, True, 1)


async def test_one_that_left_the_line_before_its_turn_is_only_cancelled() -> None:
    """Though a turn came by before it could say so."""
    budget = RetryBudget(minimum=1)
    await budget.turn()
    left = asyncio.create_task(budget.turn())
    await asyncio.sleep(0)
    left.cancel()
    budget.done()
    await asyncio.gather(left, return_exceptions=True)
    assert left.cancelled()
    assert budget.retries == 0


@given(lives=st.lists(st.integers(0, 8), max_size=12), at_once=st.integers(1, 12))
async def test_whatever_breaks_the_books_balance(
    tmp_path_factory: pytest.TempPathFactory, lives: list[int], at_once: int
) -> None:
    """Each request has one outcome; nothing stays in flight, no turn is kept, no call stays open."""
    harness, vanilla, ngram = await engines(tmp_path_factory.mktemp("books"), replicas=4)
    ngram.lives, vanilla.lives = lives[::2], lives[1::2]
    answers = await asyncio.gather(
        *(harness.answer(request(stream=number % 3 > 0, max_tokens=12)) for number in range(at_once)),
        return_exceptions=True,
    )
    assert len(harness.outcomes) == at_once
    failed = [answer for answer in answers if isinstance(answer, Exception) or b'"error"' in answer]
    assert sum(outcome.result == "failed" for outcome in harness.outcomes) == len(failed)
    budget = harness.service._failover._budget
    assert (budget.requests, budget.retries) == (0, 0)
    assert harness.idle
    assert harness.clock.now_s == T0


def frames_of(*steps: Step) -> Script:
    return steps


async def test_a_client_that_leaves_while_its_stream_moves(tmp_path: Path) -> None:
    """It is cancelled, not failed, and nothing is held."""
    never = asyncio.Event()
    harness = await Harness(
        tmp_path, ngram=FakePool([begun(), gone()]), vanilla=FakePool(frames_of(more(), never, last()))
    ).ready()
    call = asyncio.create_task(harness.answer(request(stream=True)))
    await harness.vanilla.waiting.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await settled(lambda: harness.idle)
    assert [outcome.result for outcome in harness.outcomes] == ["cancelled"]
    assert harness.outcomes[0].continued == 1
