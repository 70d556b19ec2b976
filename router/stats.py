"""The statistics a router holds in memory: what the store last said, and what it was not yet told."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from uuid import uuid4

from policies.cells import CellDelta, CellKey, CellRecord, decay_factor
from router.merge import added
from router.stats_protocol import FlushId

_log = logging.getLogger(__name__)

DEFAULT_MAX_TENANTS = 1000


@dataclass(frozen=True, slots=True)
class Flush:
    """Deltas on their way to the store, counted up to `until_s`. Repeated unchanged until answered."""

    id: FlushId
    until_s: float
    deltas: Mapping[CellKey, CellDelta]


@dataclass(frozen=True, slots=True)
class _Pending:
    """Deltas of one cell merged since its last flush; the half-life of the newest of them."""

    merged: CellRecord
    half_life_s: float

    def delta_at(self, at_s: float) -> CellDelta:
        factor = decay_factor(at_s - self.merged.updated_at_s, self.half_life_s)
        counters = self.merged.counters
        if factor != 1.0:
            counters = {name: value * factor for name, value in counters.items()}
        return CellDelta(self.half_life_s, counters, self.merged.lifetime)


class Snapshot(Mapping[CellKey, CellRecord]):
    """What a request may know: every cell's record, its own router's newest deltas included.

    A live, read-only view for the event loop's thread; no call waits. Records stand at their `updated_at_s`:
    decay them to the moment of use.
    """

    def __init__(self) -> None:
        self._base: dict[CellKey, CellRecord] = {}
        self._in_flight: Flush | None = None
        self._pending: dict[CellKey, _Pending] = {}
        self._generation = 0
        self._changed: dict[CellKey, int] = {}  # ordered: the newest change last
        self._store_up = False
        self._contact_s: float | None = None

    def __getitem__(self, key: CellKey) -> CellRecord:
        record = self._base.get(key)
        if self._in_flight is not None and (delta := self._in_flight.deltas.get(key)) is not None:
            record = added(record, delta, self._in_flight.until_s)
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


class StatsBuffer(Snapshot):
    """The snapshot's writing side: requests record deltas, the synchroniser moves them to the store.

    Memory is bounded by cells, not by time: deltas of a cell merge, so an outage of any length keeps at most
    one delta a cell beside the one in flight. Tenants are capped: at most `max_tenants` names recorded here
    and as many learned from the store. Requests of further tenants still count in their task's total.
    """

    def __init__(self, *, max_tenants: int = DEFAULT_MAX_TENANTS, writer: str | None = None) -> None:
        super().__init__()
        self._max_tenants = max_tenants
        self._writer = writer or uuid4().hex
        self._flushes = 0
        self._tenants: set[str] = set()
        self._store_tenants: set[str] = set()
        self._capped = False

    def record(self, deltas: Mapping[CellKey, CellDelta], now_s: float) -> None:
        """Count one outcome, at unix time `now_s`. Dictionary arithmetic: never waits, never raises."""
        for key, delta in deltas.items():
            if key.tenant is not None and not self._admit(key.tenant):
                continue
            pending = self._pending.get(key)
            merged = added(pending.merged if pending is not None else None, delta, now_s)
            self._pending[key] = _Pending(merged, delta.half_life_s)
            self._touch(key)

    @property
    def flush_unanswered(self) -> bool:
        """Whether a flush was made and not yet finished or refused."""
        return self._in_flight is not None

    def flushes_due(self, batch_cells: int) -> int:
        """How many flushes of at most `batch_cells` cells carry everything recorded so far."""
        return (self._in_flight is not None) + -(-len(self._pending) // batch_cells)

    def next_flush(self, batch_cells: int) -> Flush | None:
        """The unanswered flush, unchanged; or else one made of recorded deltas; None when there are none."""
        if self._in_flight is None and self._pending:
            taken = dict(islice(self._pending.items(), batch_cells))
            until_s = max(pending.merged.updated_at_s for pending in taken.values())
            deltas = {key: pending.delta_at(until_s) for key, pending in taken.items()}
            for key in taken:
                del self._pending[key]
            self._start_flush(until_s, deltas)
        return self._in_flight

    def finish_flush(self, records: Mapping[CellKey, CellRecord]) -> None:
        """The flush was answered: the store's records now contain it."""
        self._in_flight = None
        self.learn(records)

    def refuse_flush(self, keys: frozenset[CellKey] | None = None) -> None:
        """The store will never take these cells of the flush (None: any of them); the rest goes again."""
        flush, self._in_flight = self._in_flight, None
        if flush is None:
            return
        rest = {key: delta for key, delta in flush.deltas.items() if keys and key not in keys}
        for key in flush.deltas.keys() - rest.keys():
            self._touch(key)
        # A store refuses whole flushes, so nothing of this one was added and a new id cannot count it twice.
        if rest and len(rest) < len(flush.deltas):
            self._start_flush(flush.until_s, rest)

    def learn(self, records: Mapping[CellKey, CellRecord]) -> None:
        """Take over records the store told."""
        for key, record in records.items():
            if self._keeps(key.tenant) and self._base.get(key) != record:
                self._base[key] = record
                self._touch(key)

    def relearn(self, records: Mapping[CellKey, CellRecord]) -> None:
        """Take over the store's whole content: what it no longer has is forgotten here too.

        After FLUSHALL or a restart without data the store's word stands, otherwise routers would disagree
        for as long as they live. What it was not yet told stays and reaches it with the next flush.
        """
        gone = self._base.keys() - records.keys()
        for key in gone:
            del self._base[key]
            self._touch(key)
        self._store_tenants = {key.tenant for key in self._base if key.tenant is not None} - self._tenants
        self.learn(records)

    def note_contact(self, now_s: float) -> None:
        """The store answered."""
        self._store_up = True
        self._contact_s = now_s

    def note_lost(self) -> None:
        """The store did not answer."""
        self._store_up = False

    def _start_flush(self, until_s: float, deltas: Mapping[CellKey, CellDelta]) -> None:
        self._flushes += 1
        self._in_flight = Flush(FlushId(self._writer, self._flushes), until_s, deltas)

    def _touch(self, key: CellKey) -> None:
        self._generation += 1
        self._changed.pop(key, None)
        self._changed[key] = self._generation

    def _admit(self, tenant: str) -> bool:
        if tenant in self._tenants:
            return True
        if len(self._tenants) >= self._max_tenants:
            if not self._capped:
                self._capped = True
                _log.warning(
                    "%d tenants have statistics of their own; further ones count in their tasks' totals only",
                    self._max_tenants,
                )
            return False
        self._tenants.add(tenant)
        return True

    def _keeps(self, tenant: str | None) -> bool:
        if tenant is None or tenant in self._tenants or tenant in self._store_tenants:
            return True
        if len(self._store_tenants) >= self._max_tenants:
            return False
        self._store_tenants.add(tenant)
        return True
