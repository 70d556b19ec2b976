"""A request as the trained classifier sees it: hashed n-grams by namespace, and structural numbers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

from policies.tasks import TASKS
from router.tasks import structure
from router.tasks.command import command
from router.tasks.features import Features, without_labels
from router.tasks.hashing import (
    Hashes,
    character_codes,
    distinct,
    mixed,
    polynomials,
    tokens,
    word_hashes,
)
from router.tasks.protocol import RequestText
from router.tasks.rules import RULES, shares

FEATURES: Final = 2
"""Version of what the features mean, stored with the weights.

One more with every change of a rule, a measure, a vocabulary or a hash: weights of other features of the same
shape would answer without sense."""

NAMESPACES: Final = (
    "ask words",
    "ask characters",
    "ask words beside material",
    "edge words",
    "command words",
    "body words",
    "system words",
    "earlier words",
)
"""Kinds of hashed features. Each has unit length, so that a long text does not outshout a short one."""

BODY_CHARACTERS: Final = 800
"""Characters of either end of the last turn whose words are hashed."""

DENSE: Final = len(TASKS) + len(RULES) + structure.SIZE
"""Structural numbers: the rules' score of every task, the share of every rule, and the shape."""

_EDGE_WORDS = 5
_NO_WORD = np.zeros(1, dtype=np.uint32)
_NO_WORDS = np.empty(0, dtype=np.uint32)
_FIRST_PLACES, _LAST_PLACES = (
    np.concatenate([polynomials(_NO_WORD, (1,), base + place) for place in range(_EDGE_WORDS)])
    for base in (100, 200)
)
"""What is added to the hash of a word at each place."""
_MATERIAL_CHARACTERS = 150
_SCORE_SCALE = 0.2
_TASK_INDEX = {task: index for index, task in enumerate(TASKS)}
_RULE_TASKS = np.array([_TASK_INDEX[rule.task] for rule in RULES])
_RULE_WEIGHTS = np.array([rule.weight for rule in RULES], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Vector:
    """Features of a request.

    Attributes:
        hashed: For each of `NAMESPACES` the distinct hashes in it, sorted.
        dense: `DENSE` numbers, most of them between 0 and 1.
    """

    hashed: tuple[Hashes, ...]
    dense: NDArray[np.float32]


def vector(request: RequestText) -> Vector:
    """The features of a request. Total, and bounded in time by what `RequestText` is clipped to."""
    features = Features(request)
    shape = structure.structure(features)
    ask = _words(features.ask.text)
    beside = 3 + min(2, features.material_characters // 150) + 10 * features.asks_question
    system = _words(features.system.text) if request.system_prompt else _NO_WORDS
    earlier = _words(features.earlier.text) if request.earlier_turns else _NO_WORDS
    ends = without_labels(_ends(features.lowered))
    body = ask if ends == features.ask.text else _words(ends)  # a short turn is all instruction
    raw = (
        polynomials(ask, (1, 2, 3), 1),
        polynomials(character_codes(features.ask.text), (1, 2, 3, 4, 5), 2),
        polynomials(ask, (1,), beside),
        _edges(ask),
        _command(features),
        polynomials(body, (1,), 31),
        polynomials(system, (1, 2), 32),
        polynomials(earlier, (1,), 33),
    )
    hashes = mixed(np.concatenate(raw))
    stops = list(accumulate(map(len, raw)))
    return Vector(
        hashed=tuple(
            distinct(hashes[stop - len(part) : stop]) for stop, part in zip(stops, raw, strict=True)
        ),
        dense=np.concatenate([_rule_scores(features), shape]),
    )


def _words(text: str) -> Hashes:
    return word_hashes(tokens(text))


def _edges(words: Hashes) -> Hashes:
    """The first and the last words with their places, not mixed."""
    first, last = words[:_EDGE_WORDS], words[: -_EDGE_WORDS - 1 : -1]
    return np.concatenate([first + _FIRST_PLACES[: len(first)], last + _LAST_PLACES[: len(last)]])


def _command(features: Features) -> Hashes:
    """The words of the sentence that asks, and whether a text to be worked on stands with it; not mixed.

    Beside a long passage this sentence is the request; the passage's own words say what it is about, which
    is no task.
    """
    words = _words(without_labels(command(features.turn).lower()))
    opening = 301 + (features.material_characters > _MATERIAL_CHARACTERS)
    return np.concatenate(
        [polynomials(words, (1, 2), 300), polynomials(words[:3], (1, 2, 3), opening)], dtype=np.uint32
    )


def _ends(text: str) -> str:
    if len(text) <= 2 * BODY_CHARACTERS:
        return text
    return f"{text[:BODY_CHARACTERS]} {text[-BODY_CHARACTERS:]}"


def _rule_scores(features: Features) -> NDArray[np.float32]:
    spoken = np.array(shares(features), dtype=np.float32)
    scores = np.bincount(_RULE_TASKS, weights=spoken * _RULE_WEIGHTS, minlength=len(TASKS))
    return np.concatenate([scores.astype(np.float32) * np.float32(_SCORE_SCALE), spoken])
