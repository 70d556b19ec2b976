"""Acceptance is counted as an engine counts it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from drafters import measuring
from drafters.corpus import Corpus, load
from drafters.head import Head, HeadShape
from drafters.measuring import Acceptance, Counts, measure
from tests.unit.drafters.tiny_target import answer, record_answers, tiny_shape, tiny_target

pytestmark = pytest.mark.unit


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_a_walk_gives_every_token_once_and_consistent_counts(runs: list[int]) -> None:
    """Tokens add up to the answer; what is accepted was reached; reached falls with the position."""
    counts = measuring._walk(runs, len(runs), 4)
    assert counts.tokens == len(runs)
    assert counts.tokens == sum(counts.accepted) + counts.steps - _spare(runs)
    for position in range(4):
        assert counts.accepted[position] <= counts.reached[position]
        assert position == 0 or counts.reached[position] <= counts.accepted[position - 1]
    assert counts.steps >= counts.reached[0] > 0


def _spare(runs: list[int]) -> int:
    """1 where the last step's drafts fill the answer, so that its bonus token is one too many."""
    at = 0
    while at < len(runs):
        possible = min(4, len(runs) - at)
        accepted = min(runs[at], possible)
        if accepted + 1 > len(runs) - at:
            return 1
        at += accepted + 1
    return 0


def test_a_walk_by_hand() -> None:
    """Up to 3 drafts: three steps over eight tokens."""
    counts = measuring._walk([2, 0, 0, 0, 3, 9, 9, 9], 8, 3)
    assert (counts.steps, counts.tokens) == (3, 8)
    assert counts.reached == [3, 2, 2]
    assert counts.accepted == [2, 2, 1]
    assert counts.conditional == [2 / 3, 1.0, 0.5]
    assert counts.acceptance_length == pytest.approx(8 / 3)


def test_no_evidence_is_none_and_counts_add_up() -> None:
    """Rates are derived from added counts, never averaged."""
    assert Counts.of(2).conditional == [None, None]
    assert Counts.of(2).acceptance_length is None
    found = Acceptance(1, {"qa": Counts([4], [1], 4, 5), "math": Counts([2], [2], 2, 4)})
    assert found.document()["all"] == {
        "alpha_by_position": [0.5],
        "acceptance_length": 1.5,
        "steps": 6,
        "reached": [6],
        "accepted": [3],
    }


class Oracle(Head):
    """Scores the tokens of the answers it is told, whatever it reads."""

    says: torch.Tensor

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """One token, always."""
        return torch.nn.functional.one_hot(self.says, 260).float().expand(*states.shape[:-1], 260)


def test_a_head_that_is_always_right_is_always_accepted(tmp_path: Path) -> None:
    """The last token, which only the target's scores tell, included; another token is never accepted."""
    made = answer(0, answered=11, held_out=True)
    made.tokens[3:] = 77
    target = tiny_target()
    last = int(target.logits(made.final[-1:].float()).argmax())
    corpus = Corpus(record_answers(tmp_path, [made, answer(1)]))
    oracle = Oracle(HeadShape(tiny_shape(), 40, 260))
    everything = torch.arange(260)

    def measured(token: int) -> Counts:
        oracle.says = torch.tensor(token)
        batch = load(corpus.held_out)
        return measure(oracle, target.embedding, target.head, everything, [batch], k=2).tasks["qa"]

    right = measured(77)
    # 10 times 77 follow the first 77, then `last`: steps of 3, 3, 3 tokens, then 77 and `last`
    assert (right.steps, right.tokens, right.reached, right.accepted) == (4, 11, [4, 4], [4, 3])
    wrong = measured(78 if last != 78 else 79)
    assert (wrong.steps, wrong.accepted) == (11, [0, 0])
