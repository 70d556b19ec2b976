"""Sums that forget, and ratios of them: what the latency estimators are made of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final, Generic, TypeVar

Key = TypeVar("Key")

_MAX_KEYS: Final = 4096


class DecayedRatio:
    """A sum of numerators over a sum of denominators, both halving every `half_life_s`.

    Decay is exact at every reading. A clock that steps back forgets nothing.
    """

    __slots__ = ("_at_s", "_denominator", "_half_life_s", "_numerator")

    def __init__(self, half_life_s: float) -> None:
        self._half_life_s = half_life_s
        self._numerator = self._denominator = 0.0
        self._at_s: float | None = None

    def add(self, numerator: float, denominator: float, now_s: float, *, kept: float = 1.0) -> None:
        """Add to both sums, of which `kept` is left besides what time leaves."""
        kept *= self._kept(now_s)
        self._numerator = self._numerator * kept + numerator
        self._denominator = self._denominator * kept + denominator
        self._at_s = now_s if self._at_s is None else max(self._at_s, now_s)

    def toward(self, prior: float, strength: float, now_s: float) -> float:
        """(prior * strength + numerators) / (strength + denominators), the prior before anything was added.

        `strength` is in the denominator's unit.
        """
        kept = self._kept(now_s)
        return (prior * strength + self._numerator * kept) / (strength + self._denominator * kept)

    def weight(self, now_s: float) -> float:
        """The sum of denominators."""
        return self._denominator * self._kept(now_s)

    def _kept(self, now_s: float) -> float:
        age_s = 0.0 if self._at_s is None else max(0.0, now_s - self._at_s)
        return float(0.5 ** (age_s / self._half_life_s))


class Ratios(Generic[Key]):
    """A `DecayedRatio` per key. Of more than `max_keys`, those longest without news are dropped."""

    def __init__(self, half_life_s: float, *, max_keys: int = _MAX_KEYS) -> None:
        self._half_life_s = half_life_s
        self._max_keys = max_keys
        self._ratios: OrderedDict[Key, DecayedRatio] = OrderedDict()

    def __iter__(self) -> Iterator[Key]:
        return iter(tuple(self._ratios))

    def add(self, key: Key, numerator: float, denominator: float, now_s: float, *, kept: float = 1.0) -> None:
        """Add to the sums of one key; see `DecayedRatio.add`."""
        ratio = self._ratios.pop(key, None) or DecayedRatio(self._half_life_s)
        ratio.add(numerator, denominator, now_s, kept=kept)
        self._ratios[key] = ratio
        if len(self._ratios) > self._max_keys:
            self._ratios.popitem(last=False)

    def toward(self, key: Key, prior: float, strength: float, now_s: float) -> float:
        """As `DecayedRatio.toward`; the prior for keys that are not known."""
        ratio = self._ratios.get(key)
        return prior if ratio is None else ratio.toward(prior, strength, now_s)

    def weight(self, key: Key, now_s: float) -> float:
        """The sum of one key's denominators."""
        ratio = self._ratios.get(key)
        return 0.0 if ratio is None else ratio.weight(now_s)
