"""Greedy answers do not depend on the pool or on k."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

import pytest
from engine_client import Answer, EngineHost
from engine_texts import requests

pytestmark = pytest.mark.engine

ROUNDING = 1e-3
"""Two tokens whose log-probabilities are closer than this may change places: verifying several tokens in one
pass sums the same float32 products in another order than decoding them one by one."""

TOKENS = 48


def gap_at_first_difference(
    reference: Sequence[int], other: Sequence[int], vanilla: EngineHost, body: dict[str, Any]
) -> float:
    """The log-probabilities' distance of vanilla's two best tokens, where the answers' tokens first part."""
    pairs = zip_longest(reference, other)
    place = next(place for place, (mine, theirs) in enumerate(pairs) if mine != theirs)
    chat = "messages" in body
    asked = {"logprobs": True, "top_logprobs": 2} if chat else {"logprobs": 2}
    (choice,) = vanilla.answer(body | asked).body["choices"]
    if chat:
        best = [entry["logprob"] for entry in choice["logprobs"]["content"][place]["top_logprobs"]]
    else:
        best = list(choice["logprobs"]["top_logprobs"][place].values())
    high, low = sorted(best, reverse=True)[:2]
    return float(high - low)


def test_answers_are_those_of_plain_decoding(
    vanilla: EngineHost, ngram: EngineHost, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """For every prompt and k the text is vanilla's, or parts from it where two tokens are equally likely."""
    bodies = requests(TOKENS)
    expected = [vanilla.start(body) for body in bodies]
    references = [Answer(list(reply)) for reply in expected]
    identical = 0
    explained: list[tuple[int, float, str, str]] = []
    unexplained: list[tuple[int, float, str, str]] = []
    drafted = accepted = 0
    for k in range(6):
        replies = [ngram.start(body, k=k) for body in bodies]
        for body, reference, reply in zip(bodies, references, replies, strict=True):
            answer = Answer(list(reply))
            drafted += sum(answer.ending.per_step_drafted)
            accepted += sum(answer.ending.per_step_accepted)
            if (answer.token_ids, answer.text) == (reference.token_ids, reference.text):
                identical += 1
                continue
            gap = gap_at_first_difference(reference.token_ids, answer.token_ids, vanilla, body)
            (explained if gap < ROUNDING else unexplained).append((k, gap, reference.text, answer.text))
    summary = (
        f"{identical} identical, {len(explained)} explained by rounding, {len(unexplained)} unexplained "
        f"of {6 * len(bodies)}; {accepted} of {drafted} draft tokens accepted"
    )
    record_testsuite_property("equality", summary)
    print(f"\nequality: {summary}")
    for k, gap, mine, theirs in explained:
        print(f"  explained: k={k} gap={gap:.2e}\n    {mine!r}\n    {theirs!r}")
    assert unexplained == []
    assert accepted > 100, "without accepted drafts nothing has been compared"
