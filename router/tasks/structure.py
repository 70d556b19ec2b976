"""The shape of a request as numbers from 0 to 1: lengths, lines, marks, scripts, request fields."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from router.tasks.features import Features
from router.tasks.vocabulary import ANOTHER, LAW, ONESELF

_LENGTHS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
_COUNTS = (1, 2, 3, 5, 9, 17)
_BUCKETED: Final = {
    "characters": _LENGTHS,
    "words": (1, 2, 3, 5, 8, 12, 20, 40, 80),
    "lines": (1, 2, 3, 4, 6, 11, 31),
    "material": (1, 150, 500, 1500),
    "first line": (1, 20, 60, 120, 250, 600),
    "last line": (1, 20, 60, 120, 250, 600),
    "system": (1, 60, 200, 600),
    "turns": (1, 2, 3, 5),
    "numbers": _COUNTS,
    "code lines": _COUNTS,
    "options": _COUNTS,
    "speakers": _COUNTS,
    "words of law": (1, 2, 3, 4, 6, 9, 14),
    "words of oneself": (1, 2, 3, 5),
    "words to another": (1, 2, 3),
}
"""Measure to the bounds of its buckets; one flag is set for the bucket a value falls in."""

_FLAGGED: Final = (
    "tools",
    "schema",
    "asks question",
    "first line asks",
    "last line asks",
    "first line announces",
    "last line announces",
    "holds code",
    "fence",
    "quotes",
    "braces",
    "pipes",
    "scripts differ",
)

_BLOCKS: Final = {
    "greek": (0x370, 0x400),
    "cyrillic": (0x400, 0x530),
    "hebrew": (0x590, 0x600),
    "arabic": (0x600, 0x780),
    "indic": (0x900, 0xE00),
    "thai": (0xE00, 0xF00),
    "kana": (0x3040, 0x3100),
    "han": (0x3400, 0xA000),
    "hangul": (0xAC00, 0xD7B0),
    "accented": (0xC0, 0x250),
    "vietnamese": (0x1E00, 0x1F00),
    "letters": (0x61, 0x7B),
    "capitals": (0x41, 0x5B),
    "digits": (0x30, 0x3A),
    "spaces": (0x20, 0x21),
}

SIZE: Final = sum(len(bounds) + 1 for bounds in _BUCKETED.values()) + len(_FLAGGED) + len(_BLOCKS)
"""Numbers that `structure` returns."""

_SHORT_LAST_WORDS = 12
_DIFFERENT_SHARE = 0.4
_QUESTION = ("?", "\uff1f", '?"', "?)")
_ANNOUNCES = (":", "\uff1a")


def structure(features: Features) -> NDArray[np.float32]:
    """`SIZE` numbers from 0 to 1: a one per measure at its bucket, the flags, and the shares of scripts."""
    first, last = (features.lines[0], features.lines[-1]) if features.lines else ("", "")
    shares = _shares(features.turn)
    values = {
        "characters": len(features.turn),
        "words": len(features.words),
        "lines": len(features.lines),
        "material": features.material_characters,
        "first line": len(first),
        "last line": len(last),
        "system": len(features.request.system_prompt),
        "turns": features.request.user_turns,
        "numbers": features.numbers,
        "code lines": features.code_lines,
        "options": features.options,
        "speakers": features.speakers,
        "words of law": len(LAW & features.words),
        "words of oneself": len(ONESELF & features.words),
        "words to another": len(ANOTHER & features.words),
    }
    flags = (
        features.request.has_tools,
        features.request.has_response_schema,
        features.asks_question,
        first.endswith(_QUESTION),
        last.endswith(_QUESTION),
        first.endswith(_ANNOUNCES),
        last.endswith(_ANNOUNCES),
        features.holds_code,
        "```" in features.turn,
        '"' in features.turn or "\u201c" in features.turn,
        "{" in features.turn,
        "|" in features.turn,
        first != last and bool(np.abs(_shares(first) - _shares(last))[:9].max() > _DIFFERENT_SHARE),
    )
    numbers = np.zeros(SIZE, dtype=np.float32)
    at = 0
    for name, bounds in _BUCKETED.items():
        numbers[at + bisect_right(bounds, values[name])] = 1.0
        at += len(bounds) + 1
    numbers[at : at + len(flags)] = flags
    numbers[at + len(flags) :] = shares
    return numbers


def _shares(text: str) -> NDArray[np.float32]:
    """Share of the characters in every block."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    if not len(codes):
        return np.zeros(len(_BLOCKS), dtype=np.float32)
    ordered = np.sort(codes)
    bounds = np.searchsorted(ordered, _BOUNDS)
    return ((bounds[1::2] - bounds[::2]) / np.float32(len(codes))).astype(np.float32)


_BOUNDS: Final[Sequence[int]] = [edge for block in _BLOCKS.values() for edge in block]
