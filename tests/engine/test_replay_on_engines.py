"""Replays of finished answers are the engine's own step counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from engine_client import BLOCK_TOKENS, NGRAM, Answer, EngineHost
from engine_host import MODEL
from engine_texts import CHATS, long_text, requests
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.replay import Lookup, _sources, replay

pytestmark = pytest.mark.engine

LOOKUP = Lookup(NGRAM.prompt_lookup.min, NGRAM.prompt_lookup.max)
K = NGRAM.k

_FACTS = "\n".join(
    f"[{n}] The {name} bridge was opened in {1870 + 7 * n} and is {90 + 13 * n} metres long."
    for n, name in enumerate(("Anker", "Birken", "Dorn", "Eichen", "Falken", "Garten", "Hafen"))
)
_RAG = [
    f"Answer from these passages and quote the one you use.\n{_FACTS}\nQuestion: when was the Dorn bridge opened?",
    f"{_FACTS}\nCopy every passage about a bridge that is longer than 120 metres.",
    f"{_FACTS}\nRewrite the passages as a list of `name: year`.",
]

Steps = tuple[tuple[int, ...], tuple[int, ...]]


def bodies() -> list[dict[str, Any]]:
    """Code, copying, passages and free text, cut at lengths of their own; a third may end by themselves."""
    mixed = [
        *requests(64),
        *({"messages": [{"role": "user", "content": text}], "temperature": 0} for text in _RAG),
        {"prompt": "a b c d e f g h " * 12, "temperature": 0, "ignore_eos": True},
        {"prompt": "na " * 30, "temperature": 0, "ignore_eos": True},
        {"prompt": [500 + n % 7 for n in range(60)], "temperature": 0, "ignore_eos": True},
    ]
    return [{**body, "max_tokens": 24 + 11 * (number % 7)} for number, body in enumerate(mixed)]


def counted(answer: Answer) -> Steps:
    """What the engine counted."""
    assert answer.ending.counted, answer.data
    assert len(answer.prompt_ids) == answer.ending.prompt_tokens
    return answer.ending.per_step_drafted, answer.ending.per_step_accepted


def replayed(answer: Answer, k: int) -> Steps:
    """What the replay of its tokens says."""
    length = len(answer.token_ids) - 1
    if not k:
        return (0,) * length, (0,) * length
    steps = replay(
        answer.prompt_ids, answer.token_ids, LOOKUP, K, max_model_len=MODEL.max_model_len
    ).requests[k - 1]
    return tuple(steps.per_step_drafted), tuple(steps.per_step_accepted)


@settings(max_examples=500, deadline=None)
@given(
    tokens=st.integers(1, 4).flatmap(lambda top: st.lists(st.integers(0, top), min_size=1, max_size=60)),
    shortest=st.integers(1, 4),
    wider=st.integers(0, 4),
    k=st.integers(1, 9),
)
def test_drafts_are_those_of_vllms_function(tokens: list[int], shortest: int, wider: int, k: int) -> None:
    """The drafter's own code, token for token, where everything repeats and overlaps."""
    from vllm.v1.spec_decode import ngram_proposer

    longest = shortest + wider
    theirs = ngram_proposer._find_longest_matched_ngram_and_propose_tokens(
        np.array(tokens, dtype=np.int32), shortest, longest, 10_000, k
    )
    text = np.array(tokens, dtype=np.int64)
    source = _sources(text, Lookup(shortest, longest))[len(tokens)]
    assert (tokens[source:][:k] if source else []) == theirs.tolist()


def test_greedy_answers_of_mixed_batches_replay_exactly(
    ngram: EngineHost, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """Every step of every request, at nine k, with prompts that the prefix cache knows from the round before."""
    steps = accepted = cached = different = 0
    ended = set()
    for turn in range(3):
        ks = [(number + 3 * turn) % (K + 1) for number in range(len(bodies()))]
        replies = [ngram.start(body, k=k) for body, k in zip(bodies(), ks, strict=True)]
        for k, reply in zip(ks, replies, strict=True):
            answer = Answer(list(reply))
            different += counted(answer) != replayed(answer, k)
            steps += len(answer.ending.per_step_drafted)
            accepted += sum(answer.ending.per_step_accepted)
            cached += answer.ending.cached_tokens
            ended.add(answer.ending.finish_reason)
    summary = (
        f"{steps} steps with {accepted} accepted tokens, {different} of {3 * len(bodies())} requests differ"
    )
    record_testsuite_property("replay", summary)
    print(f"\nreplay: {summary}")
    assert different == 0
    assert accepted > 500
    assert cached >= BLOCK_TOKENS
    assert ended == {"stop", "length"}


def test_replays_of_plain_answers_are_what_speculation_counts(
    vanilla: EngineHost, ngram: EngineHost, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """The vanilla pool's greedy answer tells the n-gram pool's steps, wherever both say the same."""
    plain = [vanilla.start(body) for body in bodies()]
    fast = [ngram.start(body, k=1 + number % K) for number, body in enumerate(bodies())]
    same = 0
    for number, (mine, theirs) in enumerate(zip(plain, fast, strict=True)):
        reference, answer = Answer(list(mine)), Answer(list(theirs))
        assert reference.prompt_ids == answer.prompt_ids
        if reference.token_ids == answer.token_ids:
            same += 1
            assert replayed(reference, 1 + number % K) == counted(answer)
    summary = f"{same} of {len(bodies())} answers identical, all replayed exactly"
    record_testsuite_property("replay of vanilla", summary)
    print(f"\nreplay of vanilla: {summary}")
    assert same > 0.8 * len(bodies())


@pytest.mark.parametrize(
    "sampling", [{"temperature": 0.8}, {"temperature": 1.2, "top_p": 0.9, "frequency_penalty": 0.4}]
)
def test_sampled_answers_replay_exactly(ngram: EngineHost, sampling: dict[str, Any]) -> None:
    """A copied token is accepted exactly when the target emits it, whatever it was sampled from."""
    ks = [1 + number % K for number in range(len(bodies()))]
    replies = [
        ngram.start({**body, **sampling, "seed": k}, k=k) for body, k in zip(bodies(), ks, strict=True)
    ]
    for k, reply in zip(ks, replies, strict=True):
        answer = Answer(list(reply))
        assert counted(answer) == replayed(answer, k)


@pytest.mark.parametrize("max_tokens", range(1, 11))
def test_cut_answers_replay_exactly(ngram: EngineHost, max_tokens: int) -> None:
    """A limit in the midst of an accepted run clips the last step."""
    body = {"prompt": "a b c d e f g h " * 12, "temperature": 0, "ignore_eos": True, "max_tokens": max_tokens}
    answer = ngram.answer(body, k=K)
    assert counted(answer) == replayed(answer, K)


def test_answers_up_to_the_models_length_replay_exactly(ngram: EngineHost) -> None:
    """Close to the limit the engine verifies placeholders, and the replay knows."""
    length = MODEL.max_model_len
    placeholders = 0
    for k, left in ((K, 30), (3, 14), (1, 9)):
        prompt = [1000 + n % 11 for n in range(length - left)]
        answer = ngram.answer(
            {"prompt": prompt, "temperature": 0, "ignore_eos": True, "max_tokens": left}, k=k
        )
        assert answer.ending.completion_tokens == left
        assert counted(answer) == replayed(answer, k)
        endless = replay(prompt, answer.token_ids, LOOKUP, K, max_model_len=2 * length).requests[k - 1]
        placeholders += tuple(endless.per_step_drafted) != answer.ending.per_step_drafted
    assert placeholders, "the limit showed nowhere"


def test_a_grammar_only_shortens_drafts(ngram: EngineHost) -> None:
    """Drafts that a schema forbids are cut before they are verified; what is accepted stays the same."""
    schema = {
        "type": "object",
        "properties": {name: {"type": "string", "maxLength": 12} for name in ("name", "item", "city")},
        "required": ["name", "item", "city"],
    }
    form = {"type": "json_schema", "json_schema": {"name": "order", "schema": schema}}
    body = {
        "messages": [{"role": "user", "content": CHATS[4]}],
        "response_format": form,
        "temperature": 0,
        "max_tokens": 60,
    }
    for k in (2, K):
        answer = ngram.answer(body, k=k)
        (drafted, accepted), (offered, right) = counted(answer), replayed(answer, k)
        assert accepted == right
        assert all(mine <= theirs for mine, theirs in zip(drafted, offered, strict=True))


@pytest.mark.parametrize("streamed", [False, True])
def test_the_prompt_comes_as_the_target_reads_it(
    ngram: EngineHost, vanilla: EngineHost, *, streamed: bool
) -> None:
    """Once, on the first frame, from either pool."""
    prompt = [1000 + n for n in range(200)]
    for host in (ngram, vanilla):
        answer = host.answer({"prompt": prompt, "max_tokens": 6, "stream": streamed})
        assert answer.prompt_ids == prompt
        assert [bool(frame.prompt_token_ids) for frame in answer.frames[:2]] == [True, False][
            : len(answer.frames)
        ]


@pytest.mark.parametrize(
    "several",
    [{"n": 2}, {"prompt": ["one two", "three"]}, {"use_beam_search": True, "n": 2}],
    ids=["choices", "prompts", "beams"],
)
def test_requests_for_several_texts_have_no_prompt(vanilla: EngineHost, several: dict[str, Any]) -> None:
    """They are not replayed."""
    answer = vanilla.answer({"prompt": "one two", "max_tokens": 5, **several})
    assert answer.status == 200, answer.data
    assert (answer.prompt_ids, answer.token_ids) == ([], [])


def test_long_prompts_replay_exactly(ngram: EngineHost) -> None:
    """Computed in chunks, several at once."""
    replies = [
        ngram.start({"prompt": f"{n} {long_text(400)}", "max_tokens": 30, "temperature": 0}, k=2 * n)
        for n in range(4)
    ]
    for n, reply in enumerate(replies):
        answer = Answer(list(reply))
        assert counted(answer) == replayed(answer, 2 * n)
