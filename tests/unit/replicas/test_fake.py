"""The fake engine speaks the real one's protocol, and knows the truth it was given."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.cost import StepLoad, fit
from policies.replay import Lookup, replay
from replicas.fake import FakeEngine, FakeSettings
from replicas.frames import Call, Engine, Frame, Load, ReplicaError, Resume, packed
from replicas.profiles import ModelSpec, Profile, StepCost

pytestmark = pytest.mark.unit

INSTANT = FakeSettings(prefill_ms=0, step_ms=0)
NGRAM = Profile(name="ngram", method="ngram", k=8)
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "hello you"}], "max_tokens": 20}
TEXT: dict[str, Any] = {"prompt": "hello you", "max_tokens": 20}


def engine(profile: Profile = NGRAM, settings: FakeSettings = INSTANT) -> FakeEngine:
    return FakeEngine(profile, ModelSpec(name="m"), settings)


def call(body: dict[str, Any] | bytes, k: int = 4, *, details: bool = False) -> Call:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Call(
        "id-1", "/v1/chat/completions" if b"messages" in data else "/v1/completions", data, k, details
    )


async def frames(one: Call, target: Engine | None = None) -> list[Frame]:
    async with aclosing((target or engine()).serve(one)) as answer:
        return [frame async for frame in answer]


def data(answer: list[Frame]) -> bytes:
    return b"".join(frame.data for frame in answer)


def events(raw: bytes) -> list[dict[str, Any]]:
    lines = raw.decode().split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]


def text(body: dict[str, Any]) -> str:
    (choice,) = body["choices"]
    return str(
        (choice.get("message") or choice.get("delta") or {}).get("content", "") or choice.get("text", "")
    )


@given(max_tokens=st.integers(1, 60), k=st.integers(0, 12), alpha=st.floats(0, 1), stream=st.booleans())
async def test_every_account_is_exact(max_tokens: int, k: int, alpha: float, stream: bool) -> None:
    """Tokens = 1 + sum(1 + accepted), no step over k, every token on a frame, whatever cut the last step."""
    body = TEXT | {"max_tokens": max_tokens, "stream": stream, "metadata": {"fake_alpha": alpha}}
    answer = await frames(call(body, k))
    ending = answer[-1].ending
    assert ending is not None
    assert ending.counted
    assert ending.completion_tokens == max_tokens == 1 + sum(1 + a for a in ending.per_step_accepted)
    assert all(
        0 <= a <= d <= min(k, 8)
        for d, a in zip(ending.per_step_drafted, ending.per_step_accepted, strict=True)
    )
    assert sum(len(frame.token_ids) for frame in answer) == max_tokens


@pytest.mark.parametrize("body", [CHAT, TEXT], ids=["chat", "text"])
async def test_a_stream_says_what_the_whole_answer_says(body: dict[str, Any]) -> None:
    """Status on the first frame, ending and load on the last, the same words in between."""
    stream = await frames(call(body | {"stream": True}))
    (whole,) = await frames(call(body))
    assert stream[0].status == whole.status == 200
    assert [frame.status for frame in stream[1:]] == [0] * (len(stream) - 1)
    assert (stream[0].content_type, whole.content_type) == ("text/event-stream", "application/json")
    assert [frame.ending is not None for frame in stream] == [False] * (len(stream) - 1) + [True]
    assert whole.load is not None
    assert stream[-1].load == whole.load
    assert len(text(json.loads(whole.data)).split()) == 20
    assert len("".join(text(event) for event in events(data(stream))).split()) == 20
    assert events(data(stream))[-1]["choices"][0]["finish_reason"] == "length"


async def test_the_text_depends_on_the_request_alone() -> None:
    """Pools and k answer alike, and so does the next run."""
    answers = [await frames(call(TEXT, k)) for k in (0, 3, 8, 3)]
    answers.append(await frames(call(TEXT), engine(Profile(name="vanilla"))))
    assert len({text(json.loads(data(answer))) for answer in answers}) == 1
    assert answers[1][-1].ending is not None
    assert answers[3][-1].ending is not None
    assert answers[1][-1].ending.per_step_accepted == answers[3][-1].ending.per_step_accepted
    assert text(json.loads(data(await frames(call(TEXT | {"prompt": "other"}))))) != text(
        json.loads(data(answers[0]))
    )


@pytest.mark.parametrize("coverage", [1.0, 0.5])
async def test_acceptance_is_what_was_set(coverage: float) -> None:
    """Over many steps the conditional rates come out at alpha and the coverage."""
    body = TEXT | {"max_tokens": 20_000, "metadata": {"fake_alpha": 0.6}}
    (frame,) = await frames(call(body), engine(settings=INSTANT.model_copy(update={"coverage": coverage})))
    assert frame.ending is not None
    drafted, accepted = frame.ending.per_step_drafted[:-1], frame.ending.per_step_accepted[:-1]
    proposing = [a for d, a in zip(drafted, accepted, strict=True) if d]
    assert sum(a > 0 for a in proposing) / len(proposing) == pytest.approx(0.6, abs=0.03)
    assert len(proposing) / len(drafted) == pytest.approx(coverage, abs=0.03)


async def test_a_plain_profile_drafts_nothing() -> None:
    """Whatever k the call names."""
    (frame,) = await frames(call(TEXT, 4), engine(Profile(name="vanilla")))
    assert frame.ending is not None
    assert frame.ending.per_step_drafted == (0,) * 19


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("body", [CHAT, TEXT], ids=["chat", "text"])
async def test_details_have_a_place_to_stand(body: dict[str, Any], stream: bool) -> None:
    """In the body, or in the usage chunk that details ask for."""
    answer = await frames(call(body | {"stream": stream}, details=True))
    last = answer[-1]
    assert last.splice_at is not None
    raw = data(answer[:-1]) + last.data[: last.splice_at] + b',"specroute":1' + last.data[last.splice_at :]
    place = events(raw)[-1] if stream else json.loads(raw)
    assert (place["specroute"], place["usage"]["completion_tokens"]) == (1, 20)


async def test_a_usage_chunk_comes_only_when_asked_for() -> None:
    """As with vLLM."""
    without = events(data(await frames(call(TEXT | {"stream": True}))))
    asked = TEXT | {"stream": True, "stream_options": {"include_usage": True}}
    assert all(event["choices"] and "usage" not in event for event in without)
    assert events(data(await frames(call(asked))))[-1]["usage"]["completion_tokens"] == 20


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"prompt"', 400),
        (b"[]", 400),
        (b'{"max_tokens": 3}', 400),
        (b'{"prompt": "a", "max_tokens": "many"}', 400),
        (b'{"prompt": "a", "max_tokens": 0}', 400),
        (b'{"prompt": "a", "model": "other"}', 404),
    ],
)
async def test_bad_requests_get_an_error_object(body: bytes, status: int) -> None:
    """And an ending that counts nothing."""
    (frame,) = await frames(call(body))
    assert frame.status == status
    assert json.loads(frame.data)["error"]["code"] == status
    assert frame.ending is not None
    assert not frame.ending.counted


async def test_the_newer_name_of_max_tokens_comes_first() -> None:
    """As with vLLM."""
    (frame,) = await frames(call(CHAT | {"max_completion_tokens": 5}))
    assert frame.ending is not None
    assert frame.ending.completion_tokens == 5


async def test_models_are_listed() -> None:
    """Under the model's public name."""
    (frame,) = await frames(Call("id", "/v1/models", b"", 0))
    assert json.loads(frame.data)["data"][0]["id"] == "m"


async def test_a_closed_answer_is_let_go_of() -> None:
    """The load falls as soon as the generator is closed, or its reader cancelled."""
    target = engine()
    endless = call(TEXT | {"stream": True, "max_tokens": 10_000})
    async with aclosing(target.serve(endless)) as answer:
        await anext(answer)
        assert target.load() == Load(running=1, capacity=16)
    assert target.load().running == 0
    reader = asyncio.create_task(frames(call(TEXT | {"max_tokens": 100_000}), target))
    while target.load().running == 0:  # noqa: ASYNC110 - turns of the loop, no wait
        await asyncio.sleep(0)
    reader.cancel()
    await asyncio.wait([reader])
    assert reader.cancelled()
    assert target.load().running == 0


async def test_after_shutdown_every_call_is_the_replicas_fault() -> None:
    """Running ones too."""
    target = engine()
    async with aclosing(target.serve(call(TEXT | {"stream": True}))) as answer:
        await anext(answer)
        target.shutdown()
        with pytest.raises(ReplicaError):
            await anext(answer)
    with pytest.raises(ReplicaError):
        await frames(call(TEXT), target)
    with pytest.raises(ReplicaError):
        await target.check_health()


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long engines waited, in seconds, without waiting."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("replicas.fake_pace.asyncio.sleep", sleep)
    return waits


async def test_steps_take_the_time_their_profile_says(slept: list[float]) -> None:
    """In units of a plain step, for prefill and every decode step."""
    cost = StepCost(verify=0.5, per_token=0.25, per_draft_token=0.125)
    settings = FakeSettings(alpha=0.0, prefill_ms=7, step_ms=1000)
    target = engine(NGRAM.model_copy(update={"step_cost": cost}), settings)
    await frames(call(TEXT | {"max_tokens": 3}, k=2), target)
    assert slept == [0.007, 2.25, 2.25]


async def test_a_drafter_of_one_pass_works_for_all_k(slept: list[float]) -> None:
    """Whatever is asked for, and where nothing is."""
    cost = StepCost(verify=0.5, per_token=0.25, per_draft_token=0.125)
    heads = Profile(name="medusa", method="medusa", k=4, draft_model="/d", step_cost=cost)
    for k, expected in ((2, 2.5), (0, 1.5)):
        slept.clear()
        target = engine(heads, FakeSettings(alpha=0.0, prefill_ms=7, step_ms=1000))
        await frames(call(TEXT | {"max_tokens": 3}, k=k), target)
        assert slept == [0.007, expected, expected]


async def test_passes_are_recorded_as_they_were(skipping: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorded steps lead back to the fake's own settings: base, requests, drafts, prompt."""
    clock = SimpleNamespace(monotonic=asyncio.get_running_loop().time)
    for module in ("fake", "fake_pace"):
        monkeypatch.setattr(f"replicas.{module}.time", clock)
    cost = StepCost(verify=0.5, per_token=0.1)
    settings = FakeSettings(alpha=0.5, coverage=0.5, prefill_ms=40, step_ms=8, per_request_ms=2)
    target = engine(NGRAM.model_copy(update={"step_cost": cost}), settings)
    for round_, together in enumerate((1, 1, 1, 2, 4, 6)):
        bodies = [TEXT | {"max_tokens": 30, "seed": 10 * round_ + number} for number in range(together)]
        await asyncio.gather(
            *(frames(call(body, k=(round_ + number) % 5), target) for number, body in enumerate(bodies))
        )
    found = fit(target.steps.moments, NGRAM.step_cost.seed()).step_time
    for requests, drafted in ((1, 0), (1, 4), (4, 0), (4, 3)):
        truth_ms = 8 * cost.plain_steps(drafted=drafted, asked=0) + 2 * (requests - 1)
        load = StepLoad(requests, float(drafted > 0), drafted, 0, 30 * requests)
        assert 1000 * found.seconds(load) == pytest.approx(truth_ms, rel=0.15)
    assert target.steps.refused == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_the_prompt_travels_where_it_is_asked_for(stream: bool) -> None:
    """Packed, on the first frame, an id for every counted token, the same ids for the same words."""
    body = {"prompt": "one two one", "max_tokens": 3, "stream": stream}
    asked = await frames(call(body)._replace(prompt_tokens=True))
    ids = np.frombuffer(asked[0].prompt_token_ids, "<u4").tolist()
    assert asked[-1].ending is not None
    assert len(ids) == asked[-1].ending.prompt_tokens == 3
    assert all(not frame.prompt_token_ids for frame in asked[1:])
    assert all(not frame.prompt_token_ids for frame in await frames(call(body)))
    (again,) = await frames(
        call({**body, "prompt": "two one two", "stream": False})._replace(prompt_tokens=True)
    )
    assert np.frombuffer(again.prompt_token_ids, "<u4").tolist()[1] != ids[1]


@pytest.mark.parametrize(("share", "longest"), [(0.95, 3.0), (0.0, 1.05)])
async def test_a_copying_fake_drafts_what_its_words_allow(share: float, longest: float) -> None:
    """Its steps are the n-gram lookup's on its own tokens; answers that copy little are drafted little."""
    copying = engine(settings=INSTANT.model_copy(update={"copying": True}))
    body = TEXT | {"prompt": " ".join(map(str, range(300))), "max_tokens": 300}
    asked = call(body | {"metadata": {"fake_alpha": share}}, 6)._replace(prompt_tokens=True)
    (frame,) = await frames(asked, copying)
    assert frame.ending is not None
    steps = replay(
        np.frombuffer(frame.prompt_token_ids, "<u4"),
        frame.token_ids,
        Lookup(NGRAM.prompt_lookup.min, NGRAM.prompt_lookup.max),
        NGRAM.k,
        max_model_len=ModelSpec().max_model_len,
    ).requests[5]
    assert list(frame.ending.per_step_drafted) == list(steps.per_step_drafted)
    assert list(frame.ending.per_step_accepted) == list(steps.per_step_accepted)
    assert (steps.decode_tokens / steps.steps > longest) is (share > 0.5)
    (plain,) = await frames(asked._replace(k=0), copying)
    assert plain.ending is not None
    assert (plain.token_ids, plain.ending.per_step_drafted) == (frame.token_ids, (0,) * 299)


@given(
    tokens=st.integers(2, 30),
    after=st.integers(1, 30),
    k=st.integers(0, 8),
    copying=st.booleans(),
    body=st.sampled_from([CHAT, TEXT]),
)
async def test_it_goes_on_with_a_stream(
    *, tokens: int, after: int, k: int, copying: bool, body: dict[str, Any]
) -> None:
    """From any frame on the rest is what the unbroken stream goes on with, whatever k makes it."""
    settings = INSTANT.model_copy(update={"copying": copying})
    asked = body | {"max_tokens": tokens, "stream": True, "stream_options": {"include_usage": True}}
    one = call(asked)._replace(prompt_tokens=True)
    whole = await frames(one, engine(settings=settings))
    begun = whole[: min(after, len(whole) - 1)]
    done = [token for frame in begun for token in frame.token_ids]
    if not begun:
        return
    assert len(done) < tokens
    resume = Resume(begun[0].prompt_token_ids, packed(done), begun[0].head)
    rest = await frames(one._replace(k=k, resume=resume), engine(settings=settings))
    assert [t for f in [*begun, *rest] for t in f.token_ids] == [t for f in whole for t in f.token_ids]
    mine, theirs = events(data([*begun, *rest])), events(data(whole))
    assert "".join(text(event) for event in mine if event["choices"]) == "".join(
        text(event) for event in theirs if event["choices"]
    )
    assert mine[-1]["usage"] == theirs[-1]["usage"]
    assert len({(event["id"], event["created"]) for event in mine}) == 1
    ending = rest[-1].ending
    assert ending is not None
    assert (ending.continued_after, ending.completion_tokens) == (len(done), tokens)
    assert tokens - len(done) == 1 + sum(1 + accepted for accepted in ending.per_step_accepted)


@pytest.mark.parametrize("done", [[1, 2, 3], [0] * 40])
async def test_it_goes_on_with_no_other_answer(done: list[int]) -> None:
    """Tokens that are not this answer's are a mistake, and refused."""
    one = call(CHAT | {"stream": True})
    with pytest.raises(ReplicaError, match="go on"):
        await frames(one._replace(resume=Resume(packed([1]), packed(done), b"{")))


async def test_an_engine_on_time_does_not_wait_for_its_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens whose time has come while the reader was away come in one frame, and every pass has its length."""
    clock = SimpleNamespace(now_s=0.0)

    async def sleep(seconds: float) -> None:
        clock.now_s += seconds

    monkeypatch.setattr("replicas.fake_pace.asyncio.sleep", sleep)
    for module in ("fake", "fake_pace"):
        monkeypatch.setattr(f"replicas.{module}.time", SimpleNamespace(monotonic=lambda: clock.now_s))
    target = engine(NGRAM, FakeSettings(prefill_ms=1000, step_ms=1000, on_time=True))
    came: list[tuple[float, int]] = []
    async for frame in target.serve(call(TEXT | {"max_tokens": 6, "stream": True}, k=0)):
        came.append((clock.now_s, len(frame.token_ids)))
        if len(came) == 2:
            clock.now_s += 2.5  # the third and the fourth are ready when it reads on
    assert came == [(1.0, 1), (2.0, 1), (4.5, 2), (5.0, 1), (6.0, 1)]


@pytest.mark.parametrize(("on_time", "passes"), [(True, (8, 14)), (False, (32, 32))])
async def test_requests_on_time_share_their_passes(on_time: bool, passes: tuple[int, int]) -> None:
    """Four of eight steps, all at once: a batch's eight passes, or each request's own."""
    target = engine(NGRAM, FakeSettings(prefill_ms=0, step_ms=20, on_time=on_time))
    asked = [call(TEXT | {"max_tokens": 9, "stream": True}, k=0) for _ in range(4)]
    with target.steps.apart() as found:
        await asyncio.gather(*(frames(one, target) for one in asked))
    least, most = passes
    assert least <= sum(not load.prefill for load, _ in found) <= most
