"""Where routers add up what they counted for the savings report: a protocol, the store behind it, a fake.

An hour's counts stand in one hash, and once more in their day's: a window of some hours reads hours, one of
weeks reads days.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol
from urllib.parse import quote, unquote

from policies.savings import GROUPS, OTHERS, Cell, Group, Sums, parse_row, row_text
from router.scripts import StoreConnection, load_script
from router.stats_protocol import FlushId, StoreUnavailableError
from router.store_records import KeyNames

HOUR_S: Final = 3600
DAY_S: Final = 24 * HOUR_S
HOURS_KEPT_S: Final = 4 * DAY_S
DAYS_KEPT_S: Final = 36 * DAY_S
MAX_TENANTS: Final = 100
"""Tenants that no operator's file names, with counts of their own, per hour and per day."""
_FLUSHES_KEPT_S: Final = 30 * DAY_S
_PARTS: Final = 3
_GROUPS: Final[Mapping[str, Group]] = {group: group for group in GROUPS}


class Span(NamedTuple):
    """An hour or a day: its length in seconds, and how many such have passed since 1970."""

    length_s: int
    number: int

    @property
    def begin_s(self) -> float:
        """When it begins."""
        return float(self.length_s * self.number)


class Addend(NamedTuple):
    """What is added to a cell of one hour.

    `began_s` is when the first request of it came, `named` whether an operator's file names the tenant.
    """

    hour: int
    cell: Cell
    sums: Sums
    began_s: float
    named: bool


class Counted(NamedTuple):
    """What was counted in some spans; `began_s` is when the first request came, infinite without any."""

    cells: Mapping[Cell, Sums]
    began_s: float = math.inf


class SavingsStore(Protocol):
    """A store of counts. Every method may raise StoreUnavailableError, quickly."""

    async def add(self, flush: FlushId, addends: Sequence[Addend]) -> None:
        """Add to the hours and days, once per flush id."""
        ...

    async def read(self, span: Span) -> Counted:
        """What all routers counted in an hour or a day."""
        ...


class ConnectedSavings:
    """A SavingsStore in Redis. Hours expire after four days, days after 36."""

    def __init__(self, connection: StoreConnection, model: str) -> None:
        self._connection = connection
        self._names = KeyNames(model)
        self._script = load_script("add_savings.lua")

    async def add(self, flush: FlushId, addends: Sequence[Addend]) -> None:
        """See SavingsStore.add."""
        hours = sorted({addend.hour for addend in addends})
        keys = [self._names.flush(flush.writer)]
        for hour in hours:
            day = hour * HOUR_S // DAY_S
            keys += (self._key(Span(HOUR_S, hour)), self._key(Span(DAY_S, day)))
        arguments = [
            str(flush.number),
            str(_FLUSHES_KEPT_S),
            str(HOURS_KEPT_S),
            str(DAYS_KEPT_S),
            str(MAX_TENANTS),
        ]
        for addend in addends:
            cell = addend.cell
            arguments += (
                str(hours.index(addend.hour) + 1),
                f"{addend.began_s:.3f}",
                _encoded(cell.tenant),
                str(int(addend.named)),
                f"{cell.group}:{_encoded(cell.task)}",
                row_text(addend.sums),
            )
        await self._connection.run_script(self._script, keys, arguments)

    async def read(self, span: Span) -> Counted:
        """See SavingsStore.read."""
        texts: Mapping[bytes, bytes] = await self._connection.command("HGETALL", self._key(span))
        # With many tenants there are thousands of rows, and requests must not wait for them.
        return await asyncio.to_thread(_counted, texts)

    def _key(self, span: Span) -> str:
        kind = "hour" if span.length_s == HOUR_S else "day"
        return f"{self._names.prefix}savings:{kind}:{span.number}"


@dataclass
class FakeSavingsStore:
    """A SavingsStore in memory.

    Attributes:
        down: Every call fails.
        lose_replies: How many of the next additions are done but answered with a failure.
    """

    down: bool = False
    lose_replies: int = 0
    max_tenants: int = MAX_TENANTS
    _spans: dict[Span, Counted] = field(default_factory=dict)
    _flushed: dict[str, int] = field(default_factory=dict)

    async def add(self, flush: FlushId, addends: Sequence[Addend]) -> None:
        """See SavingsStore.add."""
        self._answer()
        if flush.number > self._flushed.get(flush.writer, 0):
            self._flushed[flush.writer] = flush.number
            for addend in addends:
                self._put(Span(HOUR_S, addend.hour), addend)
                self._put(Span(DAY_S, addend.hour * HOUR_S // DAY_S), addend)
        if self.lose_replies:
            self.lose_replies -= 1
            raise StoreUnavailableError("the fake store lost its reply")

    async def read(self, span: Span) -> Counted:
        """See SavingsStore.read."""
        self._answer()
        return self._spans.get(span, Counted({}))

    def _put(self, span: Span, addend: Addend) -> None:
        known = self._spans.get(span, Counted({}))
        tenants = {cell.tenant for cell in known.cells}
        cell = addend.cell
        if cell.tenant not in tenants and not addend.named and len(tenants) >= self.max_tenants:
            cell = cell._replace(tenant=OTHERS)
        cells = {**known.cells, cell: known.cells.get(cell, Sums()) + addend.sums}
        self._spans[span] = Counted(cells, min(known.began_s, addend.began_s))

    def _answer(self) -> None:
        if self.down:
            raise StoreUnavailableError("the fake store is down")


def _counted(texts: Mapping[bytes, bytes]) -> Counted:
    """What a hash says; rows that are damaged, or of another version, are passed over."""
    cells: dict[Cell, Sums] = {}
    for name, text in texts.items():
        cell = _cell(name.decode("utf-8", "replace"))
        sums = parse_row(cell.group, text.decode("utf-8", "replace")) if cell is not None else None
        if cell is not None and sums is not None:
            cells[cell] = sums
    return Counted(cells, _moment(texts.get(b"began", b"")))


def _cell(name: str) -> Cell | None:
    """The cell of a field `group:task:tenant`; None for the hash's own fields."""
    parts = name.split(":")
    if len(parts) != _PARTS or parts[0] not in _GROUPS:
        return None
    return Cell(unquote(parts[2]), unquote(parts[1]), _GROUPS[parts[0]])


def _encoded(part: str) -> str:
    return quote(part, safe="", errors="surrogatepass")


def _moment(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return math.inf
