"""What a request may know of the statistics: the store's records, and what the store was not yet told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from policies.cells import CellDelta, CellKey, CellRecord, decay_factor
from policies.merge import added
from router.stats_protocol import FlushId


@dataclass(frozen=True, slots=True)
class Flush:
    """Deltas on their way to the store, counted up to `until_s`. Repeated unchanged until answered."""

    id: FlushId
    until_s: float
    deltas: Mapping[CellKey, CellDelta]


class Cut(NamedTuple):
    """A cell's evidence is to weigh `factor` times less, unless somebody raised its epoch before."""

    expected_epoch: int
    factor: float


@dataclass(frozen=True, slots=True)
class Pending:
    """Deltas of one cell merged since its last flush; the half-life of the newest of them."""

    merged: CellRecord
    half_life_s: float

    def delta_at(self, at_s: float) -> CellDelta:
        """What a flush at a time adds."""
        factor = decay_factor(at_s - self.merged.updated_at_s, self.half_life_s)
        counters = self.merged.counters
        if factor != 1.0:
            counters = {name: value * factor for name, value in counters.items()}
        return CellDelta(self.half_life_s, counters, self.merged.lifetime)

    def scaled(self, factor: float) -> Pending:
        """The same with counters `factor` times as large; lifetime totals stay."""
        return replace(self, merged=replace(self.merged, counters=_scaled(self.merged.counters, factor)))


class Snapshot(Mapping[CellKey, CellRecord]):
    """What a request may know: every cell's record, its own router's newest deltas included.

    A live, read-only view for the event loop's thread; no call waits. Records stand at their `updated_at_s`:
    decay them to the moment of use.
    """

    def __init__(self) -> None:
        self._base: dict[CellKey, CellRecord] = {}
        self._in_flight: Flush | None = None
        self._cuts: dict[CellKey, Cut] = {}
        self._pending: dict[CellKey, Pending] = {}
        self._generation = 0
        self._changed: dict[CellKey, int] = {}  # ordered: the newest change last
        self._store_up = False
        self._contact_s: float | None = None

    def __getitem__(self, key: CellKey) -> CellRecord:
        record = self._base.get(key)
        if self._in_flight is not None and (delta := self._in_flight.deltas.get(key)) is not None:
            record = added(record, delta, self._in_flight.until_s)
        # What is in flight was counted before the cut, what is pending was cut then or counted after it.
        if record is not None and (cut := self._cuts.get(key)) is not None:
            record = replace(record, counters=_scaled(record.counters, cut.factor), epoch=record.epoch + 1)
        if (pending := self._pending.get(key)) is not None:
            at_s = pending.merged.updated_at_s
            record = added(record, pending.delta_at(at_s), at_s)
        if record is None:
            raise KeyError(key)
        return record

    def __iter__(self) -> Iterator[CellKey]:
        in_flight = self._in_flight.deltas if self._in_flight is not None else {}
        return iter(self._base | dict.fromkeys(in_flight) | dict.fromkeys(self._pending))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def epoch(self, key: CellKey) -> int | None:
        """How often a cell was cut, our own cut on its way included; None while the store told nothing of it.

        Within one run of the store it only grows, so that whoever sees it grow knows of somebody's cut.
        """
        base = self._base.get(key)
        return None if base is None else base.epoch + (key in self._cuts)

    @property
    def generation(self) -> int:
        """Grows with every change of any cell."""
        return self._generation

    def changed_since(self, generation: int) -> set[CellKey]:
        """Cells changed after `generation`, those that disappeared included; work only for what changed."""
        changed = set()
        for key in reversed(self._changed):
            if self._changed[key] <= generation:
                break
            changed.add(key)
        return changed

    @property
    def store_up(self) -> bool:
        """Whether the last conversation with the store succeeded."""
        return self._store_up

    def age_s(self, now_s: float) -> float | None:
        """Seconds since the store last answered; None when it never did."""
        return None if self._contact_s is None else max(0.0, now_s - self._contact_s)


def _scaled(counters: Mapping[str, float], factor: float) -> dict[str, float]:
    return {name: value * factor for name, value in counters.items()}
