"""What the statistics need from a shared store: one small protocol, its values and its errors.

StoreError
├── StoreUnavailableError   nobody answered in time, or the breaker is open: try again later
├── RecordVersionError      a stored record has a layout this router does not know: nothing was written
└── StoreUrlError           the URL cannot be used: a configuration error
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from policies.cells import CellDelta, CellKey, CellRecord


class StoreError(Exception):
    """Anything that went wrong between a router and its store."""


class StoreUnavailableError(StoreError):
    """The store gave no usable answer; the same call may succeed later."""


class RecordVersionError(StoreError):
    """Stored records of `keys` have an unknown layout. The whole call was refused and changed nothing."""

    def __init__(self, message: str, keys: frozenset[CellKey]) -> None:
        super().__init__(message)
        self.keys = keys


class StoreUrlError(StoreError, ValueError):
    """A store URL that cannot be used; the message never holds its password."""


class FlushId(NamedTuple):
    """Names one flush: its writer (one process run), and a number that only grows within that writer.

    A store remembers the last number per writer, so a flush repeated after any outage is recognised.
    Flushes of one writer must be sent one after the other.
    """

    writer: str
    number: int


class Cursor(NamedTuple):
    """A place in the store's order of changes. `incarnation` differs once a store lost everything."""

    incarnation: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Changes:
    """Records changed after a cursor, oldest change first.

    Attributes:
        records: The cells as they stand now.
        cursor: Where to go on; None while the store is empty.
        from_start: The order was read from its beginning: what earlier pages or reads told is void.
        more: Another page follows at `cursor`.
    """

    records: Mapping[CellKey, CellRecord]
    cursor: Cursor | None
    from_start: bool
    more: bool


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The answer to a compare-and-set on the epoch: whether it was ours to cut, and the record now."""

    applied: bool
    record: CellRecord | None


class StatsStore(Protocol):
    """A store of cells shared by routers. Every method may raise StoreUnavailableError, quickly."""

    async def add(
        self, flush: FlushId, now_s: float, deltas: Mapping[CellKey, CellDelta]
    ) -> Mapping[CellKey, CellRecord]:
        """Add deltas counted up to `now_s` (unix seconds), once per flush id; the records afterwards.

        Raises:
            RecordVersionError: A record has an unknown layout; nothing was added.
        """
        ...

    async def changed_since(self, cursor: Cursor | None) -> Changes:
        """One page of records changed after `cursor`; from the beginning with None or a foreign cursor."""
        ...

    async def forget(self, key: CellKey, expected_epoch: int, factor: float) -> Forgotten:
        """Multiply a cell's decaying counters by `factor` and raise its epoch, if that is as expected."""
        ...

    async def ping(self) -> None:
        """Return when the store answers."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
