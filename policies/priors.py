"""What is assumed about a task before there is evidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from policies.acceptance import Prior

TWO_MODEL_ALPHA: Final[Mapping[str, float]] = {
    "code": 0.80,
    "sql": 0.84,
    "structured": 0.78,
    "math": 0.74,
    "qa": 0.75,
    "rag": 0.72,
    "summarization": 0.70,
    "legal": 0.68,
    "translation": 0.65,
    "support": 0.61,
    "creative": 0.52,
    "chat": 0.60,
    "extraction": 0.75,
    "reasoning": 0.70,
    "other": 0.60,
}
"""Effective acceptance of two-model speculation by task: the middles of the ranges published for code
0.75-0.85, sql 0.80-0.88, structured 0.75-0.82, math 0.70-0.78, qa 0.70-0.80, summarization 0.65-0.75, legal
0.65-0.72, translation 0.60-0.70, support 0.55-0.68 and creative 0.45-0.60; the others stand between their
neighbours."""

COPYING_ALPHA: Final[Mapping[str, float]] = {
    "code": 0.35,
    "sql": 0.35,
    "structured": 0.32,
    "math": 0.38,
    "qa": 0.18,
    "rag": 0.42,
    "summarization": 0.42,
    "legal": 0.28,
    "translation": 0.35,
    "support": 0.18,
    "creative": 0.24,
    "chat": 0.18,
    "extraction": 0.42,
    "reasoning": 0.35,
    "other": 0.24,
}
"""Effective acceptance of n-gram lookup by task, from the measurements in docs/decisions/0004: repetitions
of a small model taken down (math, reasoning), code taken up, which is as often edited as begun."""

COPYING_COVERAGE: Final = (0.25, 0.97)
"""A drafter that copies found a match for a quarter of the steps; once it has one, the run goes on."""

_COPYING_METHODS: Final = frozenset({"ngram", "suffix"})


def prior(method: str, task: str, alpha: float | None = None) -> Prior:
    """The prior of a task on a pool that drafts with `method`.

    `alpha` overrides the table's effective acceptance; a task that is in no table is taken as `other`.
    Copying drafters (n-gram, suffix) miss by proposing nothing, model drafters by being wrong, so that the
    same effective acceptance is split differently into coverage and conditional acceptance.
    """
    copying = method in _COPYING_METHODS
    if alpha is None:
        table = COPYING_ALPHA if copying else TWO_MODEL_ALPHA
        alpha = table.get(task, table["other"])
    if not copying:
        return Prior(acceptance=(alpha,), coverage=(1.0,))
    coverage = tuple(max(c, alpha) for c in COPYING_COVERAGE)
    return Prior(acceptance=tuple(min(1.0, alpha / c) for c in coverage), coverage=coverage)
