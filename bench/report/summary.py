"""The few lines of figures that a README shows, each from a result file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from bench.endtoend.figures import EVERYWHERE
from bench.report.end_to_end import verdict
from bench.report.tables import shown
from bench.results import Document

_CHUNKS: Final = 8


def summary(documents: Mapping[str, Document]) -> str:
    """A list with a line for each result there is, and the file it is from; "" without any."""
    return "\n".join(
        f"- {line} (`{name}.json`)"
        for name, document in documents.items()
        for line in _LINES.get(document["bench"], _nothing)(document)
    )


def _nothing(_: Document) -> Iterator[str]:
    """Of benches whose figures stand on a page of their own."""
    yield from ()


def _end_to_end(document: Document) -> Iterator[str]:
    """Of all loads together where there are several: the claims of each of them are on the page."""
    claims = document["claims"]
    together = [claim for claim in claims if (claim["load"], claim["sampling"]) == EVERYWHERE]
    for claim in together or claims:
        place = "all loads" if together else f"{claim['load']}, {claim['sampling']}"
        yield f"Adaptive, {place}: {claim['claim']}: {shown(claim['ratio'], 3)} (holds: {verdict(claim)})"


def _overhead(document: Document) -> Iterator[str]:
    for row in document["comparisons"]:
        if row["chunks"] == _CHUNKS and row["added_total_ms"] is not None:
            yield (
                f"Added latency, {row['chunks']} chunks, {row['clients']} clients: "
                f"{shown(row['added_total_ms'])} times what {row['to']} adds"
            )


def _decision(document: Document) -> Iterator[str]:
    for row in document["decision"]:
        yield f"Decisions per second and core, {row['side']}: {shown(row['decisions_per_s'], 0)}"


def _store(document: Document) -> Iterator[str]:
    (row,) = document["memory"]
    yield f"10,000 (tenant, task) cells: {shown(row['store_bytes'], 1, 1e-6)} MB in the store"


def _scaling(document: Document) -> Iterator[str]:
    fewest = document["tenants"][0]["side"]
    for row in document["tenants"][1:]:
        figure = shown(row["ratio_decision_p50_us"])
        yield f"A decision with {row['side']} tenants: {figure} times one with {fewest}"


def _startup(document: Document) -> Iterator[str]:
    for row in document["starts"]:
        yield f"Time to ready, {row['side']}: {shown(row['ready_s'], 1)} s"


_LINES: Final[Mapping[str, Callable[[Document], Iterator[str]]]] = {
    "end-to-end": _end_to_end,
    "overhead": _overhead,
    "decision": _decision,
    "store": _store,
    "scaling": _scaling,
    "startup": _startup,
}
