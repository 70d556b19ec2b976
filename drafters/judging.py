"""Two drafters on the same answers, none of which either learned from."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from torch import Tensor

from drafters.comparing import FEWEST, Comparison, Paired, compare
from drafters.corpus import Place, batches, load
from drafters.errors import DraftError
from drafters.head import Head
from drafters.measuring import Counts, measure
from drafters.target import Target

_MEASURED_TOKENS: Final = 4096


def judge(
    target: Target,
    old: tuple[Head, Tensor],
    new: tuple[Head, Tensor],
    places: Sequence[Place],
    *,
    families: Mapping[str, str],
    k: int,
    confidence: float,
) -> Comparison:
    """Drafts over every answer with both, k tokens a step.

    A sampled answer judges as well as a greedy one: an engine accepts a draft token with the target's chance
    of it, and that is how often the target says it, so the answer that was sampled decides in its place.

    Args:
        target: The target.
        old: The drafter in use, and its draft tokens.
        new: The candidate, and its.
        places: Recorded answers.
        families: The conversation of each answer, by its ident.
        k: Draft tokens a step.
        confidence: Of the intervals.

    Raises:
        DraftError: The answers are of too few conversations to say anything.
    """
    if (few := too_few(families[place.entry.request.ident] for place in places)) is not None:
        raise DraftError(few)
    before, after = (_by_answer(target, drafter, places, k) for drafter in (old, new))
    pairs = [Paired(families[ident], before[ident], after[ident]) for ident in before]
    return compare(pairs, confidence=confidence)


def too_few(families: Iterable[str]) -> str | None:
    """What to do where the answers to measure on are of too few conversations; None where they are not."""
    known = len(set(families))
    if known >= FEWEST:
        return None
    return (
        f"{known} captured conversations to measure on, {FEWEST} are needed, about a quarter of all: wait "
        "for more traffic, or take more of what is captured (--tokens, --prompt-tokens)"
    )


def _by_answer(
    target: Target, drafter: tuple[Head, Tensor], places: Sequence[Place], k: int
) -> dict[str, Counts]:
    head, draft_tokens = drafter
    groups = batches(places, tokens=_MEASURED_TOKENS, order=random.Random(0))
    named = (
        replace(load(group), tasks=tuple(place.entry.request.ident for place in group)) for group in groups
    )
    return measure(head, target.embedding, target.head, draft_tokens, named, k=k).tasks
