"""Hashed n-grams and structure: deterministic, bounded, and what they are said to be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.tasks import RequestText, structure
from router.tasks.features import Features
from router.tasks.hashing import character_codes, ngrams, tokens, word_hashes
from router.tasks.vector import DENSE, NAMESPACES, vector

pytestmark = pytest.mark.unit


def test_tokens_are_words_numbers_and_marks() -> None:
    """Digits are alike, letters and digits part, an underscore is a gap."""
    assert tokens("Add 12 to x_7, naïve!") == ["Add", "00", "to", "x", "0", ",", "naïve", "!"]


def test_hashes_are_the_same_everywhere() -> None:
    """Weights outlive the process: no salt, no machine order."""
    assert word_hashes(["a", "straße"]).tolist() == [3904355907, 2285851341]
    assert ngrams(np.array([1, 2, 3], dtype=np.uint32), (2,), 7).tolist() == [3223329943, 1529522516]


@given(st.text(st.characters(categories=None, min_codepoint=0), max_size=60), st.integers(1, 5))
def test_there_is_an_ngram_at_every_place(text: str, size: int) -> None:
    """N units have n - size + 1 n-grams of a size, and none when they are fewer."""
    codes = character_codes(text)
    assert len(ngrams(codes, (size,), 3)) == max(0, len(codes) - size + 1)


@given(st.lists(st.text(min_size=1, max_size=5), min_size=2, max_size=8))
def test_sizes_and_seeds_do_not_share_hashes(words: list[str]) -> None:
    """The same words mean something else in another namespace."""
    units = word_hashes(words)
    assert not set(ngrams(units, (1,), 1).tolist()) & set(ngrams(units, (1,), 2).tolist())


@given(
    st.builds(
        RequestText,
        last_turn=st.text(max_size=300),
        system_prompt=st.text(max_size=100),
        earlier_turns=st.text(max_size=100),
        user_turns=st.integers(0, 9),
        has_tools=st.booleans(),
        has_response_schema=st.booleans(),
    )
)
def test_a_vector_has_its_size_and_is_repeatable(request_: RequestText) -> None:
    """Every request has the same number of structural numbers, all finite."""
    first, second = vector(request_), vector(request_)
    assert len(first.hashed) == len(NAMESPACES)
    assert first.dense.shape == (DENSE,)
    assert np.isfinite(first.dense).all()
    assert all((a == b).all() for a, b in zip(first.hashed, second.hashed, strict=True))


def test_structure_has_a_place_for_every_measure() -> None:
    """One bucket per measure, then flags, then shares of scripts."""
    numbers = structure.structure(Features(RequestText(last_turn="Say\n```x```", user_turns=1)))
    assert numbers.shape == (structure.SIZE,)
    assert numbers.min() >= 0
    assert numbers.max() <= 1


def test_a_longer_prompt_has_no_more_features_than_its_clip() -> None:
    """What is looked at does not grow with the prompt."""
    sizes = [
        sum(len(hashes) for hashes in vector(RequestText(last_turn="a1 b-c " * repeats)).hashed)
        for repeats in (2_000, 20_000)
    ]
    assert sizes[0] == sizes[1]
