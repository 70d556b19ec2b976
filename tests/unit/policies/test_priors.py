"""What is assumed before evidence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.acceptance import estimate
from policies.priors import COPYING_ALPHA, TWO_MODEL_ALPHA, prior
from policies.speedup import acceptance_length, effective_acceptance
from policies.tasks import TASKS

pytestmark = pytest.mark.unit

PUBLISHED = {
    "code": (0.75, 0.85), "sql": (0.80, 0.88), "structured": (0.75, 0.82), "math": (0.70, 0.78),
    "qa": (0.70, 0.80), "summarization": (0.65, 0.75), "legal": (0.65, 0.72), "translation": (0.60, 0.70),
    "support": (0.55, 0.68), "creative": (0.45, 0.60),
}  # fmt: skip


def test_every_task_has_a_prior() -> None:
    """In both tables, and no other name does."""
    assert set(TASKS) == set(TWO_MODEL_ALPHA) == set(COPYING_ALPHA)


@pytest.mark.parametrize("task", sorted(PUBLISHED))
def test_two_model_priors_are_the_middles_of_the_published_ranges(task: str) -> None:
    """To the rounding of two digits."""
    low, high = PUBLISHED[task]
    assert TWO_MODEL_ALPHA[task] == pytest.approx((low + high) / 2, abs=0.0051)


@given(st.sampled_from(["ngram", "suffix", "draft_model", "eagle3"]), st.floats(0, 1), st.integers(1, 12))
def test_a_prior_has_the_effective_acceptance_it_was_given(method: str, alpha: float, k: int) -> None:
    """However it is split into coverage and conditional acceptance, 0 and 1 included."""
    assumed = prior(method, "code", alpha)
    assert all(0 <= value <= 1 for value in (*assumed.acceptance, *assumed.coverage))
    length = acceptance_length(assumed.acceptance, assumed.coverage, k)
    assert effective_acceptance(length, k) == pytest.approx(alpha, abs=1e-9)


def test_an_estimate_without_evidence_is_the_prior() -> None:
    """Its alpha is the table's."""
    nothing = estimate(prior("ngram", "rag"), [{}, {}, {}], prior_strength=20, reference_k=4)
    assert nothing.alpha == pytest.approx(COPYING_ALPHA["rag"])


def test_copying_drafters_miss_by_proposing_nothing() -> None:
    """Model drafters always propose."""
    assert prior("ngram", "chat").coverage[0] < 1
    assert prior("draft_model", "chat").coverage == (1.0,)


def test_an_unknown_task_is_taken_as_other() -> None:
    """A task of the operator's own has no line in the tables."""
    assert prior("ngram", "poetry") == prior("ngram", "other")
