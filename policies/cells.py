"""Cells of evidence: which requests share counters, and the additive record kept for each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

TemperatureBucket = Literal["low", "mid", "high"]

LOW_TEMPERATURE = 0.3
MID_TEMPERATURE = 0.8

REPLAY_SUFFIX = ".replay"
"""Behind a profile's name it makes one that no deployment can use: '.' does not occur in them."""


def temperature_bucket(temperature: float) -> TemperatureBucket:
    """The bucket of a sampling temperature: low up to 0.3, mid up to 0.8, high above.

    Temperature moves acceptance (a flatter target agrees with its drafter less often), so evidence is kept
    apart by bucket and pooled again where a bucket alone is thin.
    """
    if temperature <= LOW_TEMPERATURE:
        return "low"
    return "mid" if temperature <= MID_TEMPERATURE else "high"


class CellKey(NamedTuple):
    """Names one cell. `tenant` None is the task's total over all tenants."""

    profile: str
    task: str
    temperature: TemperatureBucket
    tenant: str | None = None

    def of_replays(self) -> CellKey:
        """The cell of what a copying drafter would have done for the same requests."""
        return self._replace(profile=self.profile + REPLAY_SUFFIX)

    @property
    def is_of_replays(self) -> bool:
        """Whether the cell holds replayed evidence, not what an engine counted."""
        return self.profile.endswith(REPLAY_SUFFIX)

    @property
    def served_profile(self) -> str:
        """The profile as the deployment names it."""
        return self.profile.removesuffix(REPLAY_SUFFIX)


class Origin(NamedTuple):
    """Whose request showed something, and for how long that counts. With a profile it names a cell."""

    task: str
    temperature: TemperatureBucket
    tenant: str
    half_life_s: float
    weight: float = 1.0
    """Requests it counts as, above 0 and up to 1: several answers to one prompt are one together."""

    def cell(self, profile: str) -> CellKey:
        """The tenant's cell; see `CellKey` for the task's and that of replays."""
        return CellKey(profile, self.task, self.temperature, self.tenant)


@dataclass(frozen=True, slots=True)
class CellDelta:
    """What one flush adds to a cell: counters that will decay, and totals that never do."""

    half_life_s: float
    counters: Mapping[str, float]
    lifetime: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class CellRecord:
    """The stored state of a cell: counters as they stood at `updated_at_s` (unix seconds)."""

    counters: Mapping[str, float]
    lifetime: Mapping[str, int]
    updated_at_s: float
    epoch: int = 0

    def decayed_to(self, now_s: float, half_life_s: float) -> Mapping[str, float]:
        """Counters times 2^(-(now - updated_at)/half_life); a clock that went backwards decays nothing."""
        factor = decay_factor(now_s - self.updated_at_s, half_life_s)
        if factor == 1.0:
            return self.counters
        return {name: value * factor for name, value in self.counters.items()}


class CellReader(Protocol):
    """Whoever has cells: a router's view of its store, or `MemoryEvidence`."""

    def get(self, key: CellKey, /) -> CellRecord | None:
        """The record of a cell, None where nothing was counted."""
        ...

    def changed_since(self, generation: int) -> set[CellKey]:
        """Cells that changed after a generation."""
        ...

    @property
    def generation(self) -> int:
        """Grows with every change of any cell."""
        ...


EMPTY_RECORD = CellRecord(counters={}, lifetime={}, updated_at_s=0.0)


def decay_factor(elapsed_s: float, half_life_s: float) -> float:
    """2^(-elapsed/half_life), 1 when the elapsed time is not positive."""
    return math.exp2(-elapsed_s / half_life_s) if elapsed_s > 0 else 1.0
