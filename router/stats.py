"""The statistics a router holds in memory: requests add to them, the synchroniser moves them to the store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from itertools import islice
from uuid import uuid4

from policies.cells import CellDelta, CellKey, CellRecord
from policies.drift import forget_factor
from policies.merge import added
from router.snapshot import Cut, Flush, Pending, Snapshot
from router.stats_protocol import FlushId

__all__ = ["DEFAULT_MAX_TENANTS", "Snapshot", "StatsBuffer"]

_log = logging.getLogger(__name__)

DEFAULT_MAX_TENANTS = 1000


class StatsBuffer(Snapshot):
    """The snapshot's writing side: requests record deltas, the synchroniser moves them to the store.

    Memory is bounded by cells, not by time: deltas of a cell merge, so an outage of any length keeps at most
    one delta a cell beside the one in flight. A cut of a cell's evidence is seen here at once and reaches the
    store between the deltas counted before it and those counted after it.

    Tenants are capped: at most `max_tenants` names recorded here and as many learned from the store. Requests
    of further tenants still count in their task's total. Tenants that are `reserved` (the policy names them,
    or they have a key: the operator's files bound their number) have a place of their own beside these,
    however many names there are.
    """

    def __init__(
        self,
        *,
        max_tenants: int = DEFAULT_MAX_TENANTS,
        reserved: Callable[[str], bool] = lambda _: False,
        writer: str | None = None,
    ) -> None:
        super().__init__()
        self._max_tenants = max_tenants
        self._reserved = reserved
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
            self._pending[key] = Pending(merged, delta.half_life_s)
            self._touch(key)

    def cut(self, key: CellKey, factor: float) -> None:
        """Make what a cell has counted so far weigh `factor` of what it did; lifetime totals stay.

        Waits for nothing. What the store holds is cut there when it can be reached, unless another router
        does so first; what it was not yet told is cut here.
        """
        if (pending := self._pending.get(key)) is not None:
            self._pending[key] = pending.scaled(factor)
        if (base := self._base.get(key)) is not None:
            earlier = self._cuts.get(key)
            self._cuts[key] = Cut(base.epoch, factor * (earlier.factor if earlier is not None else 1.0))
        self._touch(key)

    def cuts_due(self) -> Mapping[CellKey, Cut]:
        """Cuts the store was not yet asked for, or did not yet answer."""
        return dict(self._cuts)

    def finish_cut(self, key: CellKey, record: CellRecord | None) -> None:
        """The store answered a cut: the record as it stands now, None where it has none that can be read."""
        if record is None:
            self._cuts.pop(key, None)
            self._touch(key)
        else:
            self.learn({key: record})

    @property
    def flush_unanswered(self) -> bool:
        """Whether a flush was made and not yet finished or refused."""
        return self._in_flight is not None

    def flushes_due(self, batch_cells: int) -> int:
        """How many flushes of at most `batch_cells` cells carry everything recorded so far."""
        return (self._in_flight is not None) + -(-len(self._pending) // batch_cells)

    def next_flush(self, batch_cells: int) -> Flush | None:
        """The unanswered flush, unchanged; or else one made of recorded deltas; None when there are none.

        None also while cuts are due: recorded deltas that overtook a cut would be cut once more.
        """
        if self._in_flight is None and self._pending and not self._cuts:
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
            if self._keeps(key.tenant) and (known := self._base.get(key)) != record:
                self._note_epoch(key, known, record)
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
            self._cuts.pop(key, None)
            self._touch(key)
        tenants = {key.tenant for key in self._base if key.tenant is not None}
        self._store_tenants = {tenant for tenant in tenants - self._tenants if not self._reserved(tenant)}
        self.learn(records)

    def note_contact(self, now_s: float) -> None:
        """The store answered."""
        self._store_up = True
        self._contact_s = now_s

    def note_read(self, now_s: float) -> None:
        """The store told what it has, and takes nothing."""
        self._contact_s = now_s

    def note_lost(self) -> None:
        """The store did not answer, or takes nothing."""
        self._store_up = False

    def _note_epoch(self, key: CellKey, known: CellRecord | None, record: CellRecord) -> None:
        cut = self._cuts.get(key)
        if cut is not None and record.epoch > cut.expected_epoch:
            del self._cuts[key]  # done, by us or by a router that saw the same
        elif cut is not None:
            self._cuts[key] = cut._replace(
                expected_epoch=record.epoch
            )  # the store went back to an older state
        elif (
            known is not None
            and record.epoch > known.epoch
            and (pending := self._pending.get(key)) is not None
        ):
            # Somebody else cut: what was counted here before, maybe through a long outage, is as old.
            factor = forget_factor(pending.merged.counters.get("requests", 0.0))
            self._pending[key] = pending.scaled(factor)

    def _start_flush(self, until_s: float, deltas: Mapping[CellKey, CellDelta]) -> None:
        self._flushes += 1
        self._in_flight = Flush(FlushId(self._writer, self._flushes), until_s, deltas)

    def _touch(self, key: CellKey) -> None:
        self._generation += 1
        self._changed.pop(key, None)
        self._changed[key] = self._generation

    def _admit(self, tenant: str) -> bool:
        if tenant in self._tenants or self._reserved(tenant):
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
        if self._reserved(tenant):
            return True
        if len(self._store_tenants) >= self._max_tenants:
            return False
        self._store_tenants.add(tenant)
        return True
