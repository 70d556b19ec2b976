"""The fake engine's language: one token per word, ids that follow from the words."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any

from policies.replay import Lookup, replay
from replicas.profiles import ModelSpec, Profile

_WORDS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "mu", "nu")
_VOCABULARY = 50_000

Step = tuple[int, int]
"""Drafted and accepted tokens."""


def text_of(ids: Sequence[int]) -> str:
    """The words of an answer; ids beyond the dozen words share them."""
    return "".join(f"{_WORDS[token % len(_WORDS)]} " for token in ids)


def prompt_ids(body: Mapping[str, Any]) -> list[int]:
    """The prompt's tokens: like words have like ids, in every process."""
    words = json.dumps(body.get("messages") or body.get("prompt")).split()
    return [zlib.crc32(word.encode()) % _VOCABULARY for word in words]


def answer_ids(rng: Random, prompt: Sequence[int], count: int, *, copied: float | None) -> list[int]:
    """An answer of `count` tokens: any words, or each with probability `copied` the next of a passage."""
    if copied is None:
        return [rng.randrange(len(_WORDS)) for _ in range(count)]
    text = list(prompt)
    place = len(text)
    for _ in range(count):
        if place < len(text) and rng.random() < copied:
            text.append(text[place])
            place += 1
        else:
            text.append(rng.randrange(_VOCABULARY))
            place = rng.randrange(len(text))
    return text[len(prompt) :]


def lucky_steps(rng: Random, count: int, *, k: int, alpha: float, coverage: float) -> Iterator[Step]:
    """The steps of `count` tokens whose drafts are right by chance; the last one is clipped."""
    sent = 1
    while sent < count:
        drafted = k if rng.random() < coverage else 0
        accepted = 0
        while accepted < drafted and rng.random() < alpha:
            accepted += 1
        if accepted >= count - sent:
            drafted = accepted = count - sent - 1
        yield drafted, accepted
        sent += accepted + 1


def copied_steps(
    prompt: Sequence[int], answer: Sequence[int], profile: Profile, model: ModelSpec, *, k: int
) -> Iterator[Step]:
    """The steps that the profile's n-gram lookup takes for this very answer."""
    if not k:
        return iter([(0, 0)] * (len(answer) - 1))
    lookup = Lookup(profile.prompt_lookup.min, profile.prompt_lookup.max)
    steps = replay(prompt, answer, lookup, profile.k, max_model_len=model.max_model_len).requests[k - 1]
    return zip(steps.per_step_drafted, steps.per_step_accepted, strict=True)
