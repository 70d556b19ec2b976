"""What ought to hold, and whether it does: adaptive beside the best of the fixed sides, and beside plain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from bench.endtoend.sides import ADAPTIVE, TABLE, VANILLA

TIE: Final = 1.02
SLOWER: Final = 1.03
GAINS: Final = ("code_editing", "rag", "summarization")
"""Tasks whose answers repeat much of what was asked."""
_BELOW_ONE: Final = math.nextafter(1.0, 0.0)


class Claim(NamedTuple):
    """A statement about a load and sampling, the verdict of its median, and its figure [value, low, high]."""

    load: str
    sampling: str
    claim: str
    holds: bool
    clear: bool
    """Whether the whole interval says so."""
    ratio: Sequence[float]


def claims(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The claims about the figures of `bench.endtoend.figures`, judged by their medians."""
    places = dict.fromkeys((row["load"], row["sampling"]) for row in found["cells"])
    return [claim._asdict() for place in places for claim in _of(found, *place)]


def is_fixed(side: str) -> bool:
    """Whether the side decides nothing per request."""
    return side == VANILLA or side.startswith((TABLE, "static-"))


def _of(found: Mapping[str, Any], load: str, sampling: str) -> list[Claim]:
    def here(name: str) -> list[Mapping[str, Any]]:
        return [row for row in found[name] if (row["load"], row["sampling"]) == (load, sampling)]

    made: list[Claim] = []
    fixed = {row["side"]: row["per_token_s"][0] for row in here("cells") if is_fixed(row["side"])}
    best = min(fixed, key=lambda side: fixed[side], default=None)
    for row in here("ratios"):
        if row["side"] == ADAPTIVE and row["to"] == best:
            words = f"at most 2 % behind the best fixed side ({best})"
            made.append(_judged(load, sampling, words, row["ratio"], TIE))
    plain = [row for row in here("tasks") if row["side"] == ADAPTIVE and row["to_vanilla"] is not None]
    if plain:
        worst = max(plain, key=lambda row: row["to_vanilla"][0])
        words = f"on no task more than 3 % slower than plain (most: {_words(worst['task'])})"
        made.append(_judged(load, sampling, words, worst["to_vanilla"], SLOWER))
    made += [
        _judged(load, sampling, f"faster than plain on {_words(row['task'])}", row["to_vanilla"], _BELOW_ONE)
        for row in plain
        if row["task"] in GAINS
    ]
    return made


def _judged(load: str, sampling: str, words: str, ratio: Sequence[float], most: float) -> Claim:
    value, low, high = ratio
    holds = value <= most
    return Claim(load, sampling, words, holds, high <= most if holds else low > most, ratio)


def _words(task: str) -> str:
    return task.replace("_", " ")
