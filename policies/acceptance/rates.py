"""Rates and sums that are read off counters as they stand, without a prior."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from policies.evidence import is_sound

_FEWEST_STEPS: Final = 1e-6
"""Less is what subtracting decayed counters leaves of nothing."""


def measured_length(counts: Mapping[str, float]) -> float | None:
    """Tokens per step over the steps that were allowed to draft (k > 0); None where there were none."""
    steps = counts.get("steps", 0.0) - counts.get("steps:0", 0.0)
    tokens = counts.get("tokens", 0.0) - counts.get("tokens:0", 0.0)
    return tokens / steps if steps > _FEWEST_STEPS else None


def draft_acceptance_rate(counts: Mapping[str, float]) -> float | None:
    """Accepted over proposed draft tokens, as vLLM reports it; None where nothing was proposed."""
    drafted = counts.get("drafted", 0.0)
    return counts.get("accepted", 0.0) / drafted if drafted > 0 else None


def pooled(levels: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The sum of counters, key by key; unsound ones are left out, lest one cell poison all."""
    total: dict[str, float] = {}
    for level in levels:
        if is_sound(level):
            for name, value in level.items():
                total[name] = total.get(name, 0.0) + value
    return total
