"""What a head learns: the target's chances, at every unrolled position, and the optimiser's path."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from drafters import learning
from drafters.corpus import Corpus, load
from drafters.errors import DraftError
from drafters.head import Head, HeadShape
from drafters.learning import LearnSettings, Optimiser, loss
from drafters.unrolling import Batch, unroll
from drafters.vocabulary import choose, coverage
from tests.unit.drafters.tiny_target import answer, record_answers, tiny_shape, tiny_target

pytestmark = pytest.mark.unit

SETTINGS = LearnSettings(steps=2, step_decay=0.5, warmup=1, rate=0.01, head_rate=0.01)
DRAFT_TOKENS = torch.arange(5, 55)


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    """Two answers of different lengths."""
    corpus = Corpus(
        record_answers(tmp_path, [answer(0, answered=8), answer(1, answered=5), answer(2, held_out=True)])
    )
    return load(corpus.learned)


def head() -> Head:
    """A head for fifty draft tokens."""
    made = Head(HeadShape(tiny_shape(), 40, 50))
    made.begin_from(tiny_target(), DRAFT_TOKENS)
    return made


def test_the_loss_is_the_cross_entropy_with_the_targets_chances(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answer by answer, position by position, by hand; in bfloat16, within its rounding."""
    target = tiny_target()
    scores = target.head[DRAFT_TOKENS]
    made = head()
    total = torch.zeros(())
    for step, (states, _) in enumerate(unroll(made, target.embedding, batch, steps=2)):
        terms = []
        for row in range(2):
            columns = int(batch.exists[row].nonzero().max()) + 1
            for start in range(batch.first, columns - 1 - step):
                chances = (batch.final[row, start + 1 + step] @ scores.T).softmax(-1)
                drafted = made.logits(states[row, start - batch.first]).log_softmax(-1)
                terms.append(-(chances * drafted).sum())
        total = total + 0.5**step * torch.stack(terms).mean()
    for dtype, within in ((torch.float32, 1e-5), (torch.bfloat16, 1e-2)):
        monkeypatch.setattr(learning, "quick_dtype", lambda dtype=dtype: dtype)
        found = loss(made, target.embedding, scores, batch, SETTINGS)
        torch.testing.assert_close(found, total / 1.5, rtol=within, atol=within)


def test_learning_lowers_the_loss_and_moves_every_weight(batch: Batch) -> None:
    """Thirty steps on one batch."""
    target = tiny_target()
    made = head()
    before = {name: one.detach().clone() for name, one in made.named_parameters()}
    optimiser = Optimiser(made, SETTINGS, total_steps=30)
    values = []
    for _ in range(30):
        value = loss(made, target.embedding, target.head[DRAFT_TOKENS], batch, SETTINGS)
        optimiser.learn(value)
        values.append(float(value.detach()))
    assert values[-1] < values[0]
    assert not [name for name, one in made.named_parameters() if torch.equal(one, before[name])]


def test_the_rate_warms_up_and_falls_to_a_twentieth() -> None:
    """Along a cosine; past the plan's end it stays there."""
    optimiser = Optimiser(head(), replace(SETTINGS, warmup=10), total_steps=100)
    shares = []
    for step in (0, 9, 50, 100, 120):
        optimiser.step = step
        shares.append(optimiser._share())
    assert shares == pytest.approx([0.1, 0.98, 0.525, 0.05, 0.05], abs=0.01)


def test_the_draft_vocabulary_is_what_the_target_says_most() -> None:
    """And the tokens that end answers, however rare."""
    mass = torch.tensor([0.0, 5.0, 1.0, 3.0, 0.5])
    chosen = choose(mass, 3, always=[0])
    assert chosen.tolist() == [0, 1, 3]
    assert coverage(mass, chosen) == pytest.approx(8 / 9.5)


@pytest.mark.parametrize("size", [0, 1, 6])
def test_impossible_sizes_of_the_vocabulary_are_refused(size: int) -> None:
    """With the bounds."""
    with pytest.raises(DraftError, match=r"between 2 and the target's 5"):
        choose(torch.ones(5), size, always=[0])
