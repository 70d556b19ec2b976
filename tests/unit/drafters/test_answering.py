"""Answers of a full batch are those each prompt gets alone, with the states of a second pass."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from drafters.answering import Answer, Answering, Request
from drafters.target import Target
from tests.unit.drafters.tiny_target import request, tiny_target

pytestmark = pytest.mark.unit

PROMPTS = [(1, 40, 2), (1, 50, 51, 2), (1, 60, 61, 62, 2), (1, 70, 2), (1, 80, 81, 2)]


def answers(target: Target, asked: list[Request], *, slots: int, limit: int = 7) -> dict[str, Answer]:
    """Answers by ident."""
    answering = Answering(target, slots=slots, prompt_tokens=8, answer_tokens=limit, ends=frozenset({0}))
    return {answer.request.ident: answer for answer in answering.run(iter(asked))}


def test_batches_change_no_answer() -> None:
    """More slots, other neighbours: the same tokens, greedy or drawn."""
    target = tiny_target()
    asked = [request(number, tokens=tokens) for number, tokens in enumerate(PROMPTS)]
    asked += [replace(one, ident=one.ident + "+", temperature=1.0) for one in asked]
    alone, together = answers(target, asked, slots=1), answers(target, asked, slots=4)
    assert set(together) == {one.ident for one in asked}
    assert {ident: one.tokens.tolist() for ident, one in alone.items()} == {
        ident: one.tokens.tolist() for ident, one in together.items()
    }


def test_states_are_those_of_a_second_pass() -> None:
    """Aux and final states of prompt and answer, in half precision; greedy tokens are the likeliest."""
    target = tiny_target()
    one = answers(target, [request(0, tokens=PROMPTS[2])], slots=2)["r0@0"]
    again = target.prompt(one.tokens.long(), target.cache(slots=1, length=32), 0)
    torch.testing.assert_close(one.aux.float(), again.aux, atol=0.01, rtol=0.01)
    torch.testing.assert_close(one.final.float(), again.final, atol=0.01, rtol=0.01)
    said = target.logits(again.final).argmax(-1)
    assert one.tokens[5:].tolist() == said[4:-1].tolist()


def test_answers_end_at_the_limit_the_end_token_or_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The token that ends an answer was never read, so it is not recorded."""
    target = tiny_target()
    assert answers(target, [request(0)], slots=1, limit=5)["r0@0"].answered == 5

    def always(token: int) -> None:
        scores = torch.zeros(260)
        scores[token] = 9.0
        monkeypatch.setattr(Target, "logits", lambda _self, final: scores.expand(len(final), -1))

    always(0)
    assert answers(target, [request(0)], slots=1)["r0@0"].answered == 0
    always(9)
    assert answers(target, [request(0)], slots=1, limit=60)["r0@0"].answered == 11  # 3 turns of a period of 4


def test_chances_of_all_answered_positions_add_up() -> None:
    """The mass over the vocabulary is one per token drawn."""
    target = tiny_target()
    answering = Answering(target, slots=2, prompt_tokens=8, answer_tokens=4, ends=frozenset())
    drawn = sum(answer.answered + 1 for answer in answering.run(iter([request(0), request(1)])))
    assert float(answering.mass.sum()) == pytest.approx(drawn, rel=1e-4)
