"""What ought to hold, and whether it does: adaptive beside the best of the fixed sides, and beside plain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from bench.endtoend.sides import ADAPTIVE, TABLE, VANILLA

TIE: Final = 1.02
SLOWER: Final = 1.03
GAINS: Final = ("code_editing", "rag", "summarization")
"""Tasks whose answers repeat much of what was asked."""


class Claim(NamedTuple):
    """One statement about one load and sampling, its verdict and its figure [value, low, high]."""

    load: str
    sampling: str
    claim: str
    holds: bool
    ratio: Sequence[float]


def claims(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The claims about the figures of `bench.endtoend.figures`, judged by their medians."""
    places = dict.fromkeys((row["load"], row["sampling"]) for row in found["cells"])
    return [claim._asdict() for place in places for claim in _of(found, *place)]


def is_fixed(side: str) -> bool:
    """Whether the side decides nothing per request."""
    return side in {VANILLA, TABLE} or side.startswith("static-")


def _of(found: Mapping[str, Any], load: str, sampling: str) -> list[Claim]:
    def here(name: str) -> list[Mapping[str, Any]]:
        return [row for row in found[name] if (row["load"], row["sampling"]) == (load, sampling)]

    made: list[Claim] = []
    fixed = {row["side"]: row["per_token_s"][0] for row in here("cells") if is_fixed(row["side"])}
    best = min(fixed, key=lambda side: fixed[side], default=None)
    for row in here("ratios"):
        if row["side"] == ADAPTIVE and row["to"] == best:
            words = f"at most 2 % behind the best fixed side ({best})"
            made.append(Claim(load, sampling, words, row["ratio"][0] <= TIE, row["ratio"]))
    plain = [row for row in here("tasks") if row["side"] == ADAPTIVE and row["to_vanilla"] is not None]
    if plain:
        worst = max(plain, key=lambda row: row["to_vanilla"][0])
        words = f"on no task more than 3 % slower than plain (most: {worst['task']})"
        made.append(Claim(load, sampling, words, worst["to_vanilla"][0] <= SLOWER, worst["to_vanilla"]))
    made += [
        Claim(
            load,
            sampling,
            f"faster than plain on {row['task'].replace('_', ' ')}",
            row["to_vanilla"][0] < 1,
            row["to_vanilla"],
        )
        for row in plain
        if row["task"] in GAINS
    ]
    return made
