"""The contract with vLLM's internals."""

from __future__ import annotations

import json
from typing import Any

import pytest
from engine_client import CHUNK_TOKENS, Answer, EngineHost
from engine_texts import long_text
from waiting import until

from replicas.splice import with_usage_chunk

pytestmark = pytest.mark.engine

CHAT: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Name three colours."}],
    "max_tokens": 16,
    "temperature": 0,
}
TEXT: dict[str, Any] = {"prompt": "x y z x y z x y z x y", "max_tokens": 16, "temperature": 0}
_USAGE = {"stream": True, "stream_options": {"include_usage": True}}


@pytest.mark.parametrize("body", [CHAT, TEXT], ids=["chat", "text"])
@pytest.mark.parametrize("pool", ["vanilla", "ngram"])
def test_a_stream_says_what_the_whole_answer_says(
    hosts: dict[str, EngineHost], pool: str, body: dict[str, Any]
) -> None:
    """Text, tokens, usage and finish reason do not depend on streaming."""
    whole = hosts[pool].answer(body, k=4)
    stream = hosts[pool].answer(body | _USAGE, k=4)
    assert (whole.status, stream.status) == (200, 200)
    assert whole.content_type == "application/json"
    assert stream.content_type.startswith("text/event-stream")
    assert stream.text == whole.text != ""
    assert stream.token_ids == whole.token_ids
    assert stream.events[-1]["usage"]["completion_tokens"] == whole.body["usage"]["completion_tokens"] == 16
    assert stream.ending.per_step_drafted == whole.ending.per_step_drafted
    assert whole.ending.completion_tokens == 16
    assert whole.ending.prompt_tokens == whole.body["usage"]["prompt_tokens"]
    assert whole.ending.finish_reason == whole.body["choices"][0]["finish_reason"] == "length"
    assert len(stream.frames) > 2


@pytest.mark.parametrize("streamed", [False, True])
def test_nothing_of_ours_shows_in_the_answer(ngram: EngineHost, *, streamed: bool) -> None:
    """No step counts, no usage chunk that was not asked for, no extra arguments."""
    answer = ngram.answer(TEXT | {"stream": streamed}, k=4)
    assert b"specroute" not in answer.data
    assert b"per_step" not in answer.data
    bodies = answer.events if streamed else [answer.body]
    assert all(body.get("metrics") is None for body in bodies)
    if streamed:
        assert all(body.get("usage") is None and body["choices"] for body in bodies)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("body", [CHAT, TEXT], ids=["chat", "text"])
def test_details_have_a_place_to_stand(ngram: EngineHost, body: dict[str, Any], *, streamed: bool) -> None:
    """A member put in at `splice_at` lands in the body, or in the usage chunk at the end of the stream."""
    answer = ngram.answer(body | {"stream": streamed}, k=4, details=True)
    assert [frame.splice_at is not None for frame in answer.frames[:-1]] == [False] * (len(answer.frames) - 1)
    last = answer.frames[-1]
    assert last.splice_at is not None
    position = len(answer.data) - len(last.data) + last.splice_at
    answer.data = answer.data[:position] + b',"specroute":{"k":4}' + answer.data[position:]
    place = answer.events[-1] if streamed else answer.body
    assert place["specroute"] == {"k": 4}
    assert place["usage"]["completion_tokens"] == 16
    assert answer.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"messages": [', 400),
        (b"[]", 400),
        (json.dumps(CHAT | {"max_tokens": "many"}).encode(), 400),
        (json.dumps(CHAT | {"messages": "hello"}).encode(), 400),
        (json.dumps(CHAT | {"temperature": -1}).encode(), 400),
        (json.dumps(CHAT | {"model": "another"}).encode(), 404),
        (json.dumps({"messages": [{"role": "user", "content": long_text(4000)}]}).encode(), 400),
    ],
    ids=["malformed", "no object", "wrong type", "no messages", "out of range", "unknown model", "too long"],
)
@pytest.mark.parametrize("details", [False, True])
def test_bad_requests_are_answered_as_vllm_does(
    ngram: EngineHost, body: bytes, status: int, *, details: bool
) -> None:
    """The status is vLLM's, the body OpenAI's error object, and nothing is counted."""
    answer = ngram.answer(body, path="/v1/chat/completions", k=4, details=details)
    assert answer.status == status
    assert answer.body["error"]["message"]
    assert not answer.ending.counted
    assert answer.ending.completion_tokens == 0


def test_a_speculative_engine_refuses_min_p(vanilla: EngineHost, ngram: EngineHost) -> None:
    """Sampling that cannot be verified is a clean 400 there, and works on a vanilla pool."""
    body = TEXT | {"temperature": 0.8, "min_p": 0.1, "seed": 1}
    assert ngram.answer(body, k=4).status == 400
    assert vanilla.answer(body).status == 200


@pytest.mark.parametrize(
    "sampling",
    [
        {"top_k": 5},
        {"top_p": 0.8},
        {"top_k": 5, "top_p": 0.8},
        {"top_k": 1, "temperature": 2.0},
        {"frequency_penalty": 1.0, "top_k": 3},
        {"top_k": 4, "logprobs": 3},
    ],
)
@pytest.mark.parametrize("k", [0, 4])
def test_sampling_works_with_and_without_drafts(ngram: EngineHost, sampling: dict[str, Any], k: int) -> None:
    """The rejection sampler fails on CPUs for `top_k` in a step without drafts; ours sees no such step."""
    body = TEXT | {"temperature": 0.9, "max_tokens": 6, "ignore_eos": True, **sampling}
    prompts = ["Something quite new", "a b c d a b c d a b c d a b"]
    answers = [ngram.answer(body | {"prompt": prompt}, k=k) for prompt in prompts]
    assert [(answer.status, answer.ending.completion_tokens) for answer in answers] == [(200, 6)] * 2


def test_models_are_listed_and_unknown_paths_not_found(vanilla: EngineHost) -> None:
    """A call without a body is a GET."""
    assert vanilla.answer(b"", path="/v1/models").body["data"][0]["id"] == "smollm2-135m-instruct"
    assert vanilla.answer(b"", path="/v1/nothing").status == 404


@pytest.mark.parametrize("k", [0, 2])
def test_a_client_cannot_choose_its_own_k(ngram: EngineHost, k: int) -> None:
    """Arguments under our names in a client's body are dropped."""
    body = TEXT | {"vllm_xargs": {"specroute_k": 8, "specroute_other": 1}, "max_tokens": 24}
    answer = ngram.answer(body, k=k)
    assert answer.status == 200
    assert max(answer.ending.per_step_drafted) == k


def test_several_choices_are_answered_but_not_counted(ngram: EngineHost) -> None:
    """With n = 2 tokens are summed; there are no step counts and no token ids."""
    answer = ngram.answer(CHAT | {"n": 2, "temperature": 0.8, "seed": 3}, k=4)
    assert len(answer.body["choices"]) == 2
    assert not answer.ending.counted
    assert answer.token_ids == []
    assert answer.ending.completion_tokens == answer.body["usage"]["completion_tokens"]


def test_several_prompts_are_answered_but_not_counted(ngram: EngineHost) -> None:
    """The same for a list of prompts."""
    answer = ngram.answer(TEXT | {"prompt": ["one two one two", "red blue red blue"]}, k=4)
    assert len(answer.body["choices"]) == 2
    assert not answer.ending.counted
    assert answer.token_ids == []
    assert answer.ending.completion_tokens == 32
    assert answer.ending.prompt_tokens == answer.body["usage"]["prompt_tokens"]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_stop_string_leaves_the_steps_uncounted(ngram: EngineHost, *, streamed: bool) -> None:
    """The core does not know of stop strings, so its counts do not arrive."""
    answer = ngram.answer(TEXT | {"stop": [" z"], "stream": streamed}, k=4)
    assert answer.ending.finish_reason == "stop"
    assert not answer.ending.counted
    assert " z" not in answer.text
    assert ngram.state()["unfinished"] == 0


def test_a_stop_string_that_never_comes_changes_nothing(ngram: EngineHost) -> None:
    """Then the request ends in the core and is counted."""
    assert ngram.answer(TEXT | {"stop": ["never"]}, k=4).ending.counted


@pytest.mark.parametrize("k", [0, 4])
def test_structured_output_passes_through(ngram: EngineHost, k: int) -> None:
    """A JSON schema holds under speculation, and the steps add up."""
    schema = {
        "type": "object",
        "properties": {"colours": {"type": "array", "items": {"enum": ["red", "green"]}, "maxItems": 3}},
        "required": ["colours"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "colours", "schema": schema}}
    answer = ngram.answer(CHAT | {"response_format": form, "max_tokens": 60}, k=k)
    assert answer.status == 200, answer.data
    assert set(json.loads(answer.text)["colours"]) <= {"red", "green"}
    assert answer.ending.counted
    assert max(answer.ending.per_step_drafted, default=0) <= k


@pytest.mark.parametrize("k", [0, 4])
def test_tools_pass_through(ngram: EngineHost, k: int) -> None:
    """A named tool is called with arguments of its schema."""
    function = {
        "name": "paint",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"colour": {"type": "string", "enum": ["red", "green"]}},
            "required": ["colour"],
            "additionalProperties": False,
        },
    }
    tools = {
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "paint"}},
    }
    answer = ngram.answer(CHAT | tools | {"max_tokens": 100}, k=k)
    assert answer.status == 200, answer.data
    (call,) = answer.body["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "paint"
    assert json.loads(call["function"]["arguments"])["colour"] in {"red", "green"}
    assert answer.ending.counted


def test_logprobs_pass_through(ngram: EngineHost) -> None:
    """Log-probabilities stand beside every token, drafted or not."""
    answer = ngram.answer(CHAT | {"logprobs": True, "top_logprobs": 2}, k=4)
    assert len(answer.body["choices"][0]["logprobs"]["content"]) == 16


def unfinished(host: EngineHost) -> tuple[int, int]:
    state = host.state()
    return state["load"].running, state["unfinished"]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("body", [CHAT, TEXT], ids=["chat", "text"])
@pytest.mark.parametrize("pool", ["vanilla", "ngram"])
def test_cancelling_frees_the_request(
    hosts: dict[str, EngineHost], pool: str, body: dict[str, Any], *, streamed: bool
) -> None:
    """Once a cancelled call has returned, the engine no longer works for it: most passes are never made."""
    host = hosts[pool]
    host.passes()
    reply = host.start(body | {"stream": streamed, "max_tokens": 1500, "ignore_eos": True}, k=2)
    until(lambda: unfinished(host) == (1, 1))
    if streamed:
        next(iter(reply))
    reply.cancel()
    until(lambda: unfinished(host) == (0, 0))
    # With k = 2 a step emits three tokens at most.
    assert len(host.passes()[0]) < 1500 / 3 - 1


def test_calls_do_not_see_each_other(ngram: EngineHost) -> None:
    """Tokens and counts of concurrent calls stay apart."""
    bodies = [
        TEXT | {"prompt": f"{n} {n + 1} " * 10, "max_tokens": 8 + n, "ignore_eos": True} for n in range(12)
    ]
    alone = [ngram.answer(body, k=n % 5).token_ids for n, body in enumerate(bodies)]
    replies = [ngram.start(body | {"stream": n % 2 == 0}, k=n % 5) for n, body in enumerate(bodies)]
    for n, (reply, expected) in enumerate(zip(replies, alone, strict=True)):
        answer = Answer(list(reply))
        assert answer.token_ids == expected
        assert answer.ending.completion_tokens == 8 + n
        assert max(answer.ending.per_step_drafted) <= n % 5


@pytest.mark.parametrize("pool", ["vanilla", "ngram"])
def test_a_seeded_prompt_in_chunks_is_reproducible(hosts: dict[str, EngineHost], pool: str) -> None:
    """A user's seed neither ends the engine nor loses its meaning when the prompt needs several chunks."""
    host = hosts[pool]
    body = {"prompt": long_text(400), "max_tokens": 12, "temperature": 0.9, "seed": 7, "ignore_eos": True}
    others = [host.start({**body, "prompt": f"{n} {long_text(300)}", "seed": n}) for n in range(3)]
    crowded = host.answer(body)
    for other in others:
        assert Answer(list(other)).status == 200
    assert crowded.ending.prompt_tokens > CHUNK_TOKENS
    host.answer({**body, "prompt": long_text(200)})
    first, second = host.answer(body), host.answer(body)
    assert first.token_ids == second.token_ids == crowded.token_ids
    assert host.answer(body | {"seed": 8}).token_ids != first.token_ids


def test_a_forced_usage_chunk_is_only_for_details(ngram: EngineHost) -> None:
    """A client that asks for details gets the usage chunk it could have asked for itself, others do not."""
    asked = json.dumps(TEXT | {"stream": True}).encode()
    forced = ngram.answer(asked, k=2, details=True).events[-1]
    explicit = ngram.answer(with_usage_chunk(asked), k=2).events[-1]
    assert forced["usage"] == explicit["usage"]
    assert forced["choices"] == []
    assert ngram.answer(asked, k=2).events[-1]["choices"]
