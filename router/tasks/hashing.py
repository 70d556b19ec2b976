"""Hashed n-grams of characters and words, computed on arrays: a few microseconds per hundred characters.

The hash is a polynomial over 32 bits with a finalizer, the same on every machine and in every process.
Nothing is remembered, so memory does not grow with what is read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint32]

_BASE: Final = np.uint32(0x01000193)
"""Multiplier of the polynomial; odd, so that no position is lost modulo 2^32."""

_SIXTEEN: Final = np.uint32(16)
_FIFTEEN: Final = np.uint32(15)
_SPREAD: Final = np.uint32(0x7FEB352D)
_SPREAD_AGAIN: Final = np.uint32(0x846CA68B)
_FIRST: Final = np.ones(1, dtype=bool)

_TOKEN = re.compile(r"[^\W\d_]+|\d+|[^\w\s]")
_DIGIT = re.compile(r"\d")


def tokens(text: str) -> list[str]:
    """Words, numbers (all alike but for their length) and single marks of a text, in order."""
    return _TOKEN.findall(_DIGIT.sub("0", text))


def word_hashes(words: Sequence[str]) -> Hashes:
    """One hash per word; no word holds a space."""
    if not words:
        return np.empty(0, dtype=np.uint32)
    # Encoded all at once, for one call instead of one each.
    encoded = " ".join(words).encode("utf-8", "surrogatepass").split(b" ")
    return np.fromiter(map(crc32, encoded), dtype=np.uint32, count=len(words))


def character_codes(text: str) -> Hashes:
    """Code points of a text in which a run of space is one space and every digit is 0, padded by a space."""
    plain = f" {' '.join(_DIGIT.sub('0', text).split())} "
    return np.frombuffer(plain.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def ngrams(units: Hashes, sizes: Sequence[int], seed: int) -> Hashes:
    """Hashes of all n-grams of the sizes; n-grams of different seeds or sizes do not collide on purpose.

    h(u_1 ... u_n) = mix(u_1 B^(n-1) + ... + u_n + n S), modulo 2^32.
    """
    return mixed(polynomials(units, sizes, seed))


def polynomials(units: Hashes, sizes: Sequence[int], seed: int) -> Hashes:
    """What `ngrams` mixes: who needs many hashes mixes those of all namespaces at once.

    Sizes ascend. A polynomial of n units is one of n - 1, times B, plus a unit.
    """
    found: list[Hashes] = []
    rolling = units
    for size in range(1, min(sizes[-1], len(units)) + 1):
        if size > 1:
            rolling = rolling[:-1] * _BASE
            rolling += units[size - 1 :]
        if size in sizes:
            found.append(rolling + _start(seed, size))
    return np.concatenate(found) if found else np.empty(0, dtype=np.uint32)


@cache
def _start(seed: int, size: int) -> np.uint32:
    return np.uint32((seed * 0x9E3779B1 + size * 0x85EBCA77) % 2**32)


def distinct(values: Hashes) -> Hashes:
    """The distinct ones among the values, sorted; sorts in place.

    `numpy.unique` does the same for any type and shape, and takes longer to find that out than to do it.
    """
    values.sort()
    found: Hashes = values[np.concatenate([_FIRST[: len(values)], values[1:] != values[:-1]])]
    return found


def mixed(values: Hashes) -> Hashes:
    """Values with their bits spread, in place, so that their lower bits can be used as an index."""
    values ^= values >> _SIXTEEN
    values *= _SPREAD
    values ^= values >> _FIFTEEN
    values *= _SPREAD_AGAIN
    values ^= values >> _SIXTEEN
    return values
