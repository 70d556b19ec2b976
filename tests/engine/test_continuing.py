"""A stream that breaks off on one engine goes on, on another, as if it had never broken off."""

from __future__ import annotations

import json
from typing import Any

import pytest
from engine_client import Answer, EngineHost

from replicas.frames import Call, Frame, ReplicaError, Resume, packed

pytestmark = pytest.mark.engine

_STREAM = {"stream": True, "stream_options": {"include_usage": True}, "temperature": 0}
CHAT: dict[str, Any] = _STREAM | {
    "messages": [{"role": "user", "content": "List three colours, an emoji and a Chinese word."}],
    "max_tokens": 40,
}
TEXT: dict[str, Any] = _STREAM | {"prompt": "x y z x y z x y z x y", "max_tokens": 24}
_SIGNS = "One rocket: 🚀 two rockets: 🚀🚀 three rockets: 🚀🚀🚀 four rockets: 🚀🚀🚀🚀 five rockets:"

BODIES: dict[str, dict[str, Any]] = {
    "chat": CHAT,
    "text": TEXT,
    "to its own end": CHAT | {"messages": [{"role": "user", "content": "Say hi."}], "max_tokens": 60},
    "characters of several tokens": TEXT | {"prompt": _SIGNS, "max_tokens": 24},
    "a stop string of several tokens": TEXT | {"prompt": "1, 2, 3, 4, 5, 6, 7,", "stop": ["11, 12,"]},
    "a stop string that is kept": TEXT
    | {"prompt": "1, 2, 3, 4, 5, 6, 7,", "stop": ["11, 12,"], "include_stop_str_in_output": True},
    "a stop string that nearly comes": TEXT | {"prompt": "1, 2, 3, 4, 5, 6, 7,", "stop": ["11, 12, x"]},
    "log probabilities": CHAT | {"logprobs": True, "top_logprobs": 2},
    "log probabilities of text": TEXT | {"logprobs": 1},
    "at least so many tokens": CHAT
    | {"messages": [{"role": "user", "content": "Say hi."}], "min_tokens": 30, "max_tokens": 34},
    "token ids and usage in every event": CHAT
    | {"return_token_ids": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}},
    "penalty of repetition": TEXT | {"repetition_penalty": 1.3},
    "no usage": CHAT | {"stream_options": {}},
}

_EVERYWHERE = {"characters of several tokens", "a stop string of several tokens"}


def prompt_of(frames: list[Frame]) -> bytes:
    return next(frame.prompt_token_ids for frame in frames if frame.prompt_token_ids)


def breaks(frames: list[Frame], most: int) -> list[int]:
    """After how many frames to break off: everywhere, or at places spread evenly with both ends."""
    everywhere = range(1, len(frames))
    if len(everywhere) <= most:
        return list(everywhere)
    return sorted({everywhere[round(n * (len(everywhere) - 1) / (most - 1))] for n in range(most)})


def broken_off(frames: list[Frame], after: int) -> Resume:
    """What a router knows when a stream ends after so many frames."""
    tokens = [token for frame in frames[:after] for token in frame.token_ids]
    return Resume(prompt_of(frames), packed(tokens), frames[0].head)


def going_on(
    host: EngineHost, body: dict[str, Any], resume: Resume, *, k: int = 0, details: bool = False
) -> list[Frame]:
    """The frames of the rest."""
    path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
    call = Call("elsewhere", path, json.dumps(body).encode(), k, details, prompt_tokens=True, resume=resume)
    return list(host.send("serve", call))


def joined(events: list[dict[str, Any]]) -> dict[str, Any]:
    """All that a client makes of a stream's events, however the text was cut into them."""
    choices = [choice for event in events for choice in event["choices"]]
    deltas = [choice.get("delta", choice) for choice in choices]
    logprobs = [choice["logprobs"] for choice in choices if choice.get("logprobs")]
    usage = events[-1].get("usage")
    return {
        "heads": {(event["id"], event["object"], event["created"], event["model"]) for event in events},
        "roles": [delta["role"] for delta in deltas if "role" in delta],
        "text": "".join(delta.get("content") or delta.get("text") or "" for delta in deltas),
        "finish": [c["finish_reason"] for c in choices if c.get("finish_reason")],
        "stop": [c["stop_reason"] for c in choices if c.get("stop_reason")],
        "logprobs": [
            [entry["token"] for entry in each["content"]]
            if "content" in each
            else list(zip(each["tokens"], each["text_offset"], strict=True))
            for each in logprobs
        ],
        "token_ids": [token for choice in choices for token in choice.get("token_ids") or []],
        "usage": {name: usage[name] for name in ("prompt_tokens", "completion_tokens")} if usage else None,
    }


def flat(summary: dict[str, Any]) -> dict[str, Any]:
    return summary | {"logprobs": [entry for part in summary["logprobs"] for entry in part]}


@pytest.mark.parametrize("name", BODIES)
def test_the_rest_follows_without_gap_or_repeat(vanilla: EngineHost, ngram: EngineHost, name: str) -> None:
    """Broken off after any frame: text, events, usage, reasons are those of the unbroken stream."""
    body = BODIES[name]
    whole = vanilla.answer(body)
    assert whole.status == 200, whole.data
    frames = whole.frames
    assert len(frames) > 3
    assert frames[0].head
    expected = flat(joined(whole.events))
    for number, after in enumerate(breaks(frames, 24 if name in _EVERYWHERE else 4)):
        speculative = number % 2 == 0
        resume = broken_off(frames, after)
        rest = going_on(ngram if speculative else vanilla, body, resume, k=4 if speculative else 0)
        answer = Answer([*frames[:after], *rest])
        assert flat(joined(answer.events)) == expected, f"after {after} frames"
        assert answer.token_ids == whole.token_ids
        ending = answer.ending
        done = len(resume.token_ids) // 4
        assert (ending.continued_after, ending.completion_tokens) == (done, len(whole.token_ids))
        assert ending.prompt_tokens == whole.ending.prompt_tokens
        assert ending.finish_reason == whole.ending.finish_reason
        assert (ending.ttft_s, ending.decode_s) == (None, None)
        if ending.counted:
            made_here = ending.completion_tokens - done
            assert made_here == 1 + sum(1 + accepted for accepted in ending.per_step_accepted)
        assert ending.counted or "stop string" in name


def test_details_still_have_their_place(vanilla: EngineHost, ngram: EngineHost) -> None:
    """The last frame of the rest has room for the `specroute` object, in the usage event."""
    frames = vanilla.answer(CHAT, details=True).frames
    rest = going_on(ngram, CHAT, broken_off(frames, 3), k=4, details=True)
    last = rest[-1]
    assert last.splice_at is not None
    data = last.data[: last.splice_at] + b',"specroute":1' + last.data[last.splice_at :]
    assert json.loads(data.split(b"\n\n")[-3].removeprefix(b"data: "))["specroute"] == 1


def test_a_stream_may_break_off_twice(vanilla: EngineHost, ngram: EngineHost) -> None:
    """The second rest follows the first as that one followed the beginning."""
    frames = vanilla.answer(CHAT).frames
    second = going_on(ngram, CHAT, broken_off(frames, 4), k=4)
    half = [*frames[:4], *second[:2]]
    third = going_on(vanilla, CHAT, broken_off(half, len(half)))
    assert joined(Answer([*half, *third]).events) == joined(Answer(frames).events)


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2, "temperature": 0.5},
        {"frequency_penalty": 0.5},
        {"presence_penalty": 0.5},
        {"bad_words": ["red"]},
        {"response_format": {"type": "json_object"}},
        {"structured_outputs": {"regex": "[a-z]+"}},
    ],
)
def test_what_cannot_be_continued_says_so(vanilla: EngineHost, fields: dict[str, Any]) -> None:
    """Such a stream has no head, and an engine that is asked to go on with it all the same refuses."""
    frames = vanilla.answer(CHAT | fields).frames
    assert not frames[0].head
    resume = Resume(packed([1, 2, 3]), packed([4]), b'{"id":"x",')
    with pytest.raises(ReplicaError):
        going_on(vanilla, CHAT | fields, resume)


def test_a_sampled_stream_goes_on_by_chance(vanilla: EngineHost) -> None:
    """With a seed the rest is the same each time it breaks off there, but not what the whole would have been."""
    body = CHAT | {"temperature": 1.0, "seed": 7, "max_tokens": 48, "ignore_eos": True}
    frames = vanilla.answer(body).frames
    resume = broken_off(frames, 2)
    rests = [Answer([*frames[:2], *going_on(vanilla, body, resume)]) for _ in range(2)]
    assert rests[0].token_ids == rests[1].token_ids
    assert rests[0].token_ids != Answer(frames).token_ids
    assert rests[0].ending.completion_tokens == 48


def test_an_answer_with_all_its_tokens_is_not_continued(vanilla: EngineHost) -> None:
    """A replica never reports the last tokens before the ending, so this is a mistake of the caller."""
    frames = vanilla.answer(TEXT).frames
    with pytest.raises(ReplicaError, match="all its tokens"):
        going_on(vanilla, TEXT, broken_off(frames, len(frames)))
