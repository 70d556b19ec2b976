"""What vLLM is told of a stream that began elsewhere."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams
from vllm.v1.engine import EngineCoreRequest

from replicas.resuming import as_generated, event_head, is_continuable, remaining, retitled

pytestmark = pytest.mark.unit


def params(**fields: Any) -> SamplingParams:
    return SamplingParams(**{"output_kind": RequestOutputKind.DELTA, "max_tokens": 10, **fields})


def core_request(**fields: Any) -> EngineCoreRequest:
    return EngineCoreRequest(
        request_id="r",
        prompt_token_ids=[1, 2, 3],
        mm_features=None,
        sampling_params=params(**fields),
        pooling_params=None,
        arrival_time=0.0,
        lora_request=None,
        cache_salt="salt",
        data_parallel_rank=None,
    )


@pytest.mark.parametrize(
    ("fields", "continuable"),
    [
        ({}, True),
        ({"stop": ["x"], "logprobs": 2, "seed": 1, "repetition_penalty": 1.2, "min_tokens": 3}, True),
        ({"output_kind": RequestOutputKind.FINAL_ONLY}, False),
        ({"n": 2}, False),
        ({"presence_penalty": 0.1}, False),
        ({"frequency_penalty": -0.1}, False),
        ({"bad_words": ["x"]}, False),
        ({"prompt_logprobs": 1}, False),
        ({"structured_outputs": StructuredOutputsParams(regex="a")}, False),
    ],
)
def test_what_can_be_continued(fields: dict[str, Any], continuable: bool) -> None:
    """What the engine core keeps of its own tokens and a prompt does not bring back cannot."""
    assert is_continuable(params(**fields)) == continuable


def test_the_core_reads_what_was_sent_and_makes_the_rest() -> None:
    """Both limits of the length shrink; the request itself stays as it was."""
    request = core_request(min_tokens=4, stop=["x"])
    rest = remaining(request, [7, 8])
    assert rest.prompt_token_ids == [1, 2, 3, 7, 8]
    assert (rest.sampling_params.max_tokens, rest.sampling_params.min_tokens) == (8, 2)
    assert (rest.request_id, rest.cache_salt, rest.sampling_params.stop) == ("r", "salt", ["x"])
    assert request.prompt_token_ids == [1, 2, 3]
    assert (request.sampling_params.max_tokens, request.sampling_params.min_tokens) == (10, 4)
    assert remaining(core_request(min_tokens=1), [7, 8]).sampling_params.min_tokens == 0


def test_an_answer_that_is_complete_has_no_rest() -> None:
    """Nothing is asked of the engine."""
    with pytest.raises(ValueError, match="all its tokens"):
        remaining(core_request(max_tokens=2), [7, 8])


def test_seeds_follow_from_the_place_of_the_break() -> None:
    """The same at the same place, another at another; none stays none."""
    request = core_request(seed=5, max_tokens=100)
    seeds = [remaining(request, [7] * count).sampling_params.seed for count in (1, 2, 2, 3)]
    assert seeds[1] == seeds[2]
    assert len({5, *seeds}) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert remaining(core_request(), [7]).sampling_params.seed is None


@pytest.mark.parametrize("logprobs", [None, 0, 3, -1])
def test_the_front_end_is_shown_the_tokens(logprobs: int | None) -> None:
    """With as many log probabilities as it counts, the sampled token's first."""
    output = as_generated(core_request(logprobs=logprobs), [7, 8])
    assert output.new_token_ids == [7, 8]
    assert not output.finished
    if logprobs is None:
        assert output.new_logprobs is None
    else:
        ids, values, ranks, _ = output.new_logprobs
        assert ids.shape == values.shape == (2, 1 + max(0, logprobs))
        assert ids[:, 0].tolist() == [7, 8]
        assert len(ranks) == 2


HEAD = b'{"id":"chatcmpl-1","object":"chat.completion.chunk","created":17,"model":"m",'
OTHER = b'{"id":"chatcmpl-1","object":"chat.completion.chunk","created":9,"model":"m",'


def event(head: bytes, text: str) -> bytes:
    return b"data: " + head + b'"choices":[{"delta":{"content":' + json.dumps(text).encode() + b"}}]}\n\n"


def test_the_head_of_an_event() -> None:
    """All before its choices; nothing where there are none."""
    assert event_head(event(HEAD, "x") + event(HEAD, "y")) == HEAD
    assert event_head(b"data: [DONE]\n\n") == event_head(b'{"choices":[]}') == event_head(b"") == b""


@given(
    texts=st.lists(
        st.text() | st.just(HEAD.decode()) | st.just("data: " + HEAD.decode()), min_size=1, max_size=4
    )
)
def test_events_get_the_other_head_and_keep_their_text(texts: list[str]) -> None:
    """Whatever the text, even when it is an event itself."""
    done = b"data: [DONE]\n\n"
    own = b"".join(event(HEAD, text) for text in texts) + done
    assert retitled(own, HEAD, OTHER) == b"".join(event(OTHER, text) for text in texts) + done
    assert retitled(own, b"", OTHER) == own
