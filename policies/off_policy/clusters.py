"""Which requests of a log may go alike, and so count as one when doubt is reckoned."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from policies.off_policy.record import DecisionRecord

Clustering = Literal["conversation", "tenant", "minute"]

_MINUTE_S: Final = 60.0


def clusters(records: Iterable[DecisionRecord], by: Clustering) -> list[int]:
    """A number for each record, the same for those of one cluster: 0, 1, 2 … as they first appear.

    Turns of a conversation follow one another: what one record has after its turn, a later one has before.
    So records must be in the order of their decisions. What follows nothing begins a conversation.
    """
    numbers: dict[object, int] = {}
    turns: dict[tuple[str, str], int] = {}
    found = []
    for index, record in enumerate(records):
        match by:
            case "tenant":
                key: object = record.tenant
            case "minute":
                key = int(record.decided_at // _MINUTE_S)
            case "conversation":
                before, after = record.turn
                key = index if before is None else turns.get((record.router, before), index)
                if after is not None:
                    turns[record.router, after] = key
        found.append(numbers.setdefault(key, len(numbers)))
    return found
