"""Side by side, all positions draft what an engine drafts one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear, silu

from drafters.corpus import Corpus, batches, load
from drafters.head import Head, HeadShape
from drafters.unrolling import Batch, unroll
from tests.unit.drafters.tiny_target import answer, record_answers, tiny_shape, tiny_target

pytestmark = pytest.mark.unit

STEPS = 5


@pytest.fixture(scope="module")
def head() -> Head:
    """A head of random weights, larger than at the start so that attention matters."""
    made = Head(HeadShape(tiny_shape(), 40, 50), seed=3)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(8.0 if parameter.ndim > 1 and parameter is not made.aux_norms else 1.2)
    return made


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    """Three answers of different lengths, with prompts of different lengths."""
    made = [answer(0, answered=9), answer(1, answered=5), answer(2, answered=7, held_out=True)]
    corpus = Corpus(record_answers(tmp_path, made))
    return load([*corpus.learned, *corpus.held_out])


class Engine:
    """One sequence, drafted as vLLM does it: a growing cache of keys and values, a token at a time."""

    def __init__(self, head: Head) -> None:
        self.head = head
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def run(self, hidden: Tensor, embedded: Tensor, position: int) -> Tensor:
        """The head's layer on one token; its keys stay in the cache."""
        head, shape = self.head, self.head.shape.target
        read, residual = head.inputs(embedded[None, None], hidden[None, None])
        query, key, value = head.query_key_values(read, torch.tensor([[position]]))
        self.keys.append(key[0, :, 0])
        self.values.append(value[0, :, 0])
        groups = shape.heads // shape.key_value_heads
        found = []
        for number in range(shape.heads):
            keys = torch.stack([one[number // groups] for one in self.keys])
            values = torch.stack([one[number // groups] for one in self.values])
            shares = (keys @ query[0, number, 0] / shape.head_width**0.5).softmax(-1)
            found.append(shares @ values)
        states = residual[0, 0] + linear(torch.cat(found), head.output)
        normed = torch.nn.functional.rms_norm(states, (shape.hidden,), head.feed_norm, shape.norm_epsilon)
        gate, up = linear(normed, head.gate_up).chunk(2)
        return states + linear(silu(gate) * up, head.down)


@torch.inference_mode()
def test_every_position_drafts_as_an_engine_would_from_there(head: Head, batch: Batch) -> None:
    """States of all steps, at every start of every answer, padded and shifted as they are."""
    embedding = tiny_target().embedding
    steps = list(unroll(head, embedding, batch, steps=STEPS))
    compared = 0
    for row in range(len(batch.tasks)):
        columns = batch.exists[row].nonzero().flatten()
        tokens, aux = batch.tokens[row, columns], batch.aux[row, columns]
        prompt = int(batch.positions[row, batch.first]) + 1
        for start in range(prompt - 1, len(tokens) - 1):
            engine = Engine(head)
            for place in range(start + 1):
                states = engine.run(head.mix(aux[place]), embedding[tokens[place + 1]], place)
            for step, (drafted, real) in enumerate(steps):
                here = start - (prompt - 1)
                if start + 1 + step >= len(tokens):
                    assert not real[row, here]
                    continue
                if step:
                    states = engine.run(states, embedding[tokens[start + 1 + step]], start + step)
                assert real[row, here]
                torch.testing.assert_close(drafted[row, here], states, atol=1e-4, rtol=1e-3)
                compared += 1
    assert compared > 40


def test_batches_hold_every_answer_once_and_keep_to_their_size(tmp_path: Path) -> None:
    """Alike in length, so that padding stays small; another order mixes otherwise."""
    import random

    made = [answer(number, answered=4 + number % 9, held_out=number == 0) for number in range(40)]
    corpus = Corpus(record_answers(tmp_path, made))
    groups = batches(corpus.learned, tokens=30, order=random.Random(1))
    idents = [place.entry.request.ident for group in groups for place in group]
    assert sorted(idents) == sorted(place.entry.request.ident for place in corpus.learned)
    assert all(max(place.entry.answered for place in group) * len(group) <= 30 for group in groups)
    assert groups != batches(corpus.learned, tokens=30, order=random.Random(2))
