"""Which requests are compared with which: those of one tenant and task where enough were held out."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Final, NamedTuple, TypeVar

from policies.savings.sums import Cell, Sums

LEAST_HELD_OUT: Final = 20
"""Fewer held-out requests, equally weighted ones, are compared together with those of other strata."""

Key = TypeVar("Key", bound=Hashable)


class Stratum(NamedTuple):
    """Requests that are compared with each other: chance held out some of them, whatever they are."""

    holdout: Sums
    routed: Sums

    @property
    def held_out(self) -> float:
        """Completed requests that were held out."""
        return self.holdout.tally.requests

    def __add__(self, other: object) -> Stratum:
        if not isinstance(other, Stratum):
            return NotImplemented
        return Stratum(self.holdout + other.holdout, self.routed + other.routed)


def strata(cells: Mapping[Cell, Sums]) -> list[Stratum]:
    """The cells as strata: by tenant and task, else by task, else all that is left as one.

    Any division would be right, since requests were held out whatever they are. Fine ones take away what
    tenants and tasks differ by, but a ratio needs enough requests. A rest that has too few joins the smallest
    stratum.
    """
    parts: dict[tuple[str, str], Stratum] = {}
    for cell, sums in cells.items():
        if cell.group == "other":
            continue
        own = Stratum(sums, Sums()) if cell.group == "holdout" else Stratum(Sums(), sums)
        key = cell.tenant, cell.task
        parts[key] = parts.get(key, Stratum(Sums(), Sums())) + own
    found, rest = _divided(parts)
    by_task, left = _divided(_merged(rest, lambda key: key[1]))
    found += by_task
    if left:
        remainder = _sum(left.values())
        if remainder.holdout.effective < LEAST_HELD_OUT and found:
            smallest = min(range(len(found)), key=lambda place: found[place].holdout.effective)
            found[smallest] += remainder
        else:
            found.append(remainder)
    return found


def _divided(parts: Mapping[Key, Stratum]) -> tuple[list[Stratum], dict[Key, Stratum]]:
    """Those that can stand alone, and the others."""
    alone = [part for part in parts.values() if part.holdout.effective >= LEAST_HELD_OUT]
    return alone, {key: part for key, part in parts.items() if part.holdout.effective < LEAST_HELD_OUT}


def _merged(
    parts: Mapping[tuple[str, str], Stratum], key_of: Callable[[tuple[str, str]], str]
) -> dict[str, Stratum]:
    merged: dict[str, Stratum] = {}
    for key, part in parts.items():
        merged[key_of(key)] = merged.get(key_of(key), Stratum(Sums(), Sums())) + part
    return merged


def _sum(parts: Iterable[Stratum]) -> Stratum:
    whole = Stratum(Sums(), Sums())
    for part in parts:
        whole += part
    return whole
