"""Sampled answers: speculation draws from the target's own distribution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from engine_client import EngineHost

pytestmark = pytest.mark.engine

SAMPLES = 300
PERMUTATIONS = 2000
REFUSED_BELOW = 1e-3
"""The seeds are fixed, so the draws are the same in every run; new ones would fail in 9 runs of 1,000 at most."""


def _answers(host: EngineHost, sampling: dict[str, Any], k: int) -> list[str]:
    """Answers of four tokens to a prompt whose continuation an n-gram drafter proposes."""
    body = {
        "prompt": "a b c d e a b c d e a b c d e a b c",
        "max_tokens": 4,
        "n": SAMPLES,
        "ignore_eos": True,
    }
    answer = host.answer(body | sampling, k=k)
    assert answer.status == 200, answer.body
    return [choice["text"] for choice in answer.body["choices"]]


def _distance(first: Counter[str], second: Counter[str]) -> int:
    return sum(abs(first[text] - second[text]) for text in first | second)


def _p_value(first: list[str], second: list[str], shorten: Callable[[str], str]) -> float:
    """The share of random regroupings at least as far apart as the two groups are."""
    pooled = np.array([shorten(text) for text in first + second])
    rng = np.random.default_rng(1)
    seen = _distance(Counter(pooled[: len(first)]), Counter(pooled[len(first) :]))
    further = 0
    for _ in range(PERMUTATIONS):
        rng.shuffle(pooled)
        further += _distance(Counter(pooled[: len(first)]), Counter(pooled[len(first) :])) >= seen
    return (1 + further) / (1 + PERMUTATIONS)


@pytest.mark.parametrize(
    "sampling",
    [
        {"temperature": 1.0, "seed": 11},
        {"temperature": 1.6, "top_k": 20, "seed": 12},
        {"temperature": 1.3, "top_k": 50, "top_p": 0.8, "seed": 13},
    ],
)
def test_speculation_draws_from_the_targets_distribution(
    vanilla: EngineHost, ngram: EngineHost, sampling: dict[str, Any]
) -> None:
    """Whole answers and their ends are distributed as on the plain engine, with temperature, top-k and top-p."""
    # Choice i draws with the seed plus i: far apart, so that the two groups share none.
    plain, drafted = _answers(vanilla, sampling, 0), _answers(ngram, {**sampling, "seed": 10_000}, 4)
    assert len(set(plain)) > 5, "too little variety to tell"
    p_values = [
        _p_value(plain, drafted, shorten) for shorten in (str, lambda text: text[:4], lambda text: text[-3:])
    ]
    print(f"{sampling}: {len(set(plain))} different answers, p = {', '.join(f'{p:.3f}' for p in p_values)}")
    assert min(p_values) > REFUSED_BELOW
