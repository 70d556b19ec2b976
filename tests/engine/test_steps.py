"""Every step of every request is counted, and none drafts more than the request's own k."""

from __future__ import annotations

from typing import Any

import pytest
from engine_client import BLOCK_TOKENS, CHUNK_TOKENS, KV_BLOCKS, Answer, EngineHost
from engine_texts import CHATS, long_text, requests

pytestmark = pytest.mark.engine

REPEATS: dict[str, Any] = {"prompt": "a b c d e f g h " * 12, "temperature": 0, "ignore_eos": True}
"""A prompt on which the n-gram drafter proposes all it may, and is right."""


def check_steps(answer: Answer, k: int) -> None:
    ending = answer.ending
    assert answer.status == 200, answer.data
    assert ending.counted
    assert len(ending.per_step_drafted) == len(ending.per_step_accepted)
    assert ending.completion_tokens == len(answer.token_ids)
    assert ending.completion_tokens == 1 + sum(1 + accepted for accepted in ending.per_step_accepted)
    for drafted, accepted in zip(ending.per_step_drafted, ending.per_step_accepted, strict=True):
        assert 0 <= accepted <= drafted <= k


@pytest.mark.parametrize("k", range(9))
def test_a_request_alone_drafts_up_to_its_k(ngram: EngineHost, k: int) -> None:
    """No step drafts more than k tokens, and on a repetitive text some draft exactly k."""
    answer = ngram.answer({**REPEATS, "max_tokens": 40}, k=k)
    check_steps(answer, k)
    assert max(answer.ending.per_step_drafted) == k


def test_requests_of_a_mixed_batch_each_keep_their_k(ngram: EngineHost) -> None:
    """Sixteen requests decoded together use nine different k, each its own."""
    ks = [number % 9 for number in range(16)]
    replies = [
        ngram.start({**REPEATS, "prompt": f"{number} {REPEATS['prompt']}", "max_tokens": 48}, k=k)
        for number, k in enumerate(ks)
    ]
    answers = [Answer(list(reply)) for reply in replies]
    for answer, k in zip(answers, ks, strict=True):
        check_steps(answer, k)
        assert max(answer.ending.per_step_drafted) == k


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 4, 5, 7, 8, 9, 10])
def test_max_tokens_clips_the_last_step(ngram: EngineHost, max_tokens: int) -> None:
    """Tokens that a step accepted behind the limit are not counted."""
    answer = ngram.answer({**REPEATS, "max_tokens": max_tokens}, k=8)
    check_steps(answer, 8)
    assert answer.ending.completion_tokens == max_tokens
    assert answer.ending.finish_reason == "length"


def test_the_end_token_clips_the_last_step(ngram: EngineHost) -> None:
    """Requests that end by themselves satisfy the identity too, whatever they drafted."""
    replies = [ngram.start(body, k=8) for body in requests(96)[: len(CHATS)]]
    answers = [Answer(list(reply)) for reply in replies]
    for answer in answers:
        check_steps(answer, 8)
    assert sum(answer.ending.finish_reason == "stop" for answer in answers) >= 3


def test_a_stop_token_in_an_accepted_run_clips_it(ngram: EngineHost) -> None:
    """A token id to stop at cuts a step in its midst."""
    free = ngram.answer({**REPEATS, "max_tokens": 40}, k=8)
    stop = free.token_ids[20]
    answer = ngram.answer({**REPEATS, "max_tokens": 40, "stop_token_ids": [stop]}, k=8)
    check_steps(answer, 8)
    assert answer.ending.finish_reason == "stop"
    assert answer.token_ids == free.token_ids[: free.token_ids.index(stop) + 1]


@pytest.mark.parametrize("beside_another", [False, True])
def test_a_fully_cached_prompt_starts_without_padded_drafts(
    ngram: EngineHost, *, beside_another: bool
) -> None:
    """Whole cached blocks and one more token leave one token to compute, where vLLM would pad drafts."""
    prompt = [1000 + n for n in range(2 * BLOCK_TOKENS + 1)]
    body = {"prompt": prompt, "max_tokens": 8, "temperature": 0, "ignore_eos": True}
    other = ngram.start({**REPEATS, "max_tokens": 120}, k=8) if beside_another else None
    first = ngram.answer(body, k=3)
    again = ngram.answer(body, k=3)
    check_steps(first, 3)
    check_steps(again, 3)
    assert again.ending.cached_tokens == 2 * BLOCK_TOKENS
    assert again.token_ids == first.token_ids
    assert again.ending.per_step_drafted == first.ending.per_step_drafted
    if other is not None:
        check_steps(Answer(list(other)), 8)


def test_a_prompt_in_chunks_is_one_prefill_step(ngram: EngineHost) -> None:
    """Prompts beyond the chunk budget, several at once, leave the accounts exact."""
    replies = [
        ngram.start({"prompt": f"{n} {long_text(400)}", "max_tokens": 6, "temperature": 0}, k=n)
        for n in range(4)
    ]
    for k, reply in enumerate(replies):
        answer = Answer(list(reply))
        check_steps(answer, k)
        assert answer.ending.prompt_tokens > CHUNK_TOKENS


def test_preempted_requests_keep_exact_accounts(ngram: EngineHost) -> None:
    """With too little cache for all, requests are thrown out and start again; their steps still add up."""
    before = ngram.metric("vllm:num_preemptions_total")
    body = {**REPEATS, "max_tokens": 130}
    replies = [
        ngram.start({**body, "prompt": f"{number} {REPEATS['prompt']}"}, k=number % 9) for number in range(16)
    ]
    for number, reply in enumerate(replies):
        answer = Answer(list(reply))
        check_steps(answer, number % 9)
        assert answer.ending.completion_tokens == 130
    assert ngram.metric("vllm:num_preemptions_total") > before, f"{KV_BLOCKS} blocks were enough for all"


def test_a_plain_engine_decodes_one_token_a_step(vanilla: EngineHost) -> None:
    """Whatever k says, a vanilla pool drafts nothing and counts every step."""
    answer = vanilla.answer({**REPEATS, "max_tokens": 12}, k=4)
    check_steps(answer, 0)
    assert answer.ending.per_step_drafted == (0,) * 11


def test_seeded_sampling_keeps_the_accounts(ngram: EngineHost) -> None:
    """Sampled requests are counted like greedy ones."""
    answer = ngram.answer({**REPEATS, "temperature": 0.9, "seed": 5, "max_tokens": 40}, k=5)
    check_steps(answer, 5)
