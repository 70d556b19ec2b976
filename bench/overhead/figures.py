"""From blocks of requests to figures: medians over repeats, differences, ratios and their intervals.

Times are in milliseconds. A block's time is the median of its answers; `added` is a side's block minus that
of `direct` in the same repeat, at the same load, so that what else the machine does falls on both alike.
An interval holds 95 % of what the same figure comes to over resampled repeats (the percentile bootstrap of
Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13): with five repeats it is a rough one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from bench.overhead.sides import DIRECT, OURS, SIDES

_RESAMPLES: Final = 2000
_MEASURES: Final = ("first_ms", "total_ms", "cpu_ms")


@dataclass(frozen=True, slots=True)
class Block:
    """What one side did for one block of requests."""

    repeat: int
    side: str
    chunks: int
    clients: int
    requests: int
    first_ms: float
    """Median time to the first event."""
    total_ms: float
    """Median time to the end."""
    cpu_ms: float
    """Processor time per request of the side's processes and its engine's, beyond what they take idle."""
    events: float
    """Events per answer."""


class Interval(NamedTuple):
    """A figure, and where 95 % of it over resampled repeats is."""

    value: float
    low: float
    high: float


class Place(NamedTuple):
    """One setting of the load."""

    chunks: int
    clients: int


Rows = dict[Place, dict[str, dict[int, Block]]]
"""Blocks by load, side and repeat."""


def figures(blocks: Sequence[Block]) -> dict[str, Any]:
    """All figures of a run: `cells`, `slopes` and `comparisons`; see the functions of these names."""
    rows: Rows = defaultdict(lambda: defaultdict(dict))
    for block in blocks:
        rows[Place(block.chunks, block.clients)][block.side][block.repeat] = block
    return {"cells": cells(rows), "slopes": slopes(rows), "comparisons": comparisons(rows)}


def cells(rows: Rows) -> list[dict[str, Any]]:
    """Per load and side: each measure, what is added to `direct`, and the ratio to it."""
    found = []
    for place, sides in rows.items():
        for side in _ordered(sides):
            blocks = sides[side]
            row: dict[str, Any] = {**place._asdict(), "side": side}
            row["events"] = float(np.median([block.events for block in blocks.values()]))
            for measure in _MEASURES:
                own, base = _values(blocks, measure), _values(sides[DIRECT], measure)
                row[measure] = interval(own, _first)
                if side != DIRECT:
                    row[f"added_{measure}"] = interval(own - base, _first)
                if side != DIRECT and measure != "cpu_ms":  # of an engine's few the ratio says little
                    row[f"ratio_{measure}"] = interval(own / base, _first)
            found.append(row)
    return found


def slopes(rows: Rows) -> list[dict[str, Any]]:
    """Per number of clients and side: what is added per request, and per chunk beyond that, in µs.

    The line through what is added with the fewest and with the most chunks. Empty with one number of chunks.
    """
    chunks = sorted({place.chunks for place in rows})
    if len(chunks) < 2:  # noqa: PLR2004 - a line has two ends
        return []
    few, many = chunks[0], chunks[-1]
    found = []
    for clients in dict.fromkeys(place.clients for place in rows):
        short, long = rows[Place(few, clients)], rows[Place(many, clients)]
        for side in _ordered(short)[1:]:
            row: dict[str, Any] = {"clients": clients, "side": side}
            for measure in ("total_ms", "cpu_ms"):
                at_few, at_many = (_added(of, side, measure) for of in (short, long))
                chunk = (at_many - at_few) / (many - few)
                name = measure.removesuffix("_ms")
                row[f"{name}_us_per_request"] = interval(1000 * (at_few - few * chunk), _first)
                row[f"{name}_us_per_chunk"] = interval(1000 * chunk, _first)
            found.append(row)
    return found


def comparisons(rows: Rows) -> list[dict[str, Any]]:
    """Per load: what specroute adds, as a ratio to what every other side adds, and `total_ms` to that whole.

    None where the other side added nothing in one of the repeats: then the ratio says nothing.
    """
    found = []
    for place, sides in rows.items():
        for other in _ordered(sides)[1:]:
            if other == OURS or OURS not in sides:
                continue
            row: dict[str, Any] = {**place._asdict(), "side": OURS, "to": other}
            for measure in _MEASURES:
                pairs = np.stack([_added(sides, OURS, measure), _added(sides, other, measure)], axis=1)
                above = bool((pairs[:, 1] > 0).all())
                row[f"added_{measure}"] = interval(pairs, _quotient) if above else None
            whole = _values(sides[OURS], "total_ms") / _values(sides[other], "total_ms")
            row["total_ms"] = interval(whole, _first)
            found.append(row)
    return found


def interval(rows: np.ndarray[Any, Any], figure: Callable[[np.ndarray[Any, Any]], Any]) -> Interval:
    """`figure` of the medians of the columns of `rows`, a row per repeat, with its bootstrapped interval.

    `figure` takes medians of shape (..., columns) and returns shape (...).
    """
    table = rows.reshape(len(rows), -1)
    drawn = np.random.default_rng(1).integers(len(table), size=(_RESAMPLES, len(table)))
    low, high = np.percentile(figure(np.median(table[drawn], axis=1)), [2.5, 97.5])
    return Interval(float(figure(np.median(table, axis=0))), float(low), float(high))


def _ordered(sides: Iterable[str]) -> list[str]:
    """Always the same order, with `direct` first."""
    return sorted(sides, key=SIDES.index)


def _first(medians: np.ndarray[Any, Any]) -> Any:
    return medians[..., 0]


def _quotient(medians: np.ndarray[Any, Any]) -> Any:
    return medians[..., 0] / medians[..., 1]


def _values(blocks: dict[int, Block], measure: str) -> np.ndarray[Any, Any]:
    """By repeat."""
    return np.array([getattr(blocks[repeat], measure) for repeat in sorted(blocks)])


def _added(sides: dict[str, dict[int, Block]], side: str, measure: str) -> np.ndarray[Any, Any]:
    added: np.ndarray[Any, Any] = _values(sides[side], measure) - _values(sides[DIRECT], measure)
    return added
