"""The few lines of figures that a README shows, each from a result file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from bench.endtoend.figures import EVERYWHERE
from bench.report.end_to_end import verdict
from bench.report.tables import shown, table, word
from bench.results import Document

_CHUNKS: Final = 8


def summary(documents: Mapping[str, Document]) -> str:
    """A list with a line for each result there is, and the file it is from; "" without any."""
    return "\n".join(
        f"- {line} (`{name}.json`)"
        for name, document in documents.items()
        for line in _LINES.get(document["bench"], _nothing)(document)
    )


def gains(documents: Mapping[str, Document]) -> str:
    """By task, time per token over plain decoding: of each drafter alone, and of the router that has both.

    Of the result of `python -m bench.methods.pools` with most tasks, and the file it is from; "" without any.
    """
    of_pools = {name: found for name, found in documents.items() if found["bench"] == "pools"}
    if not of_pools:
        return ""
    name = max(of_pools, key=lambda one: len(of_pools[one]["rows"]))
    drafters = list(of_pools[name]["settings"]["methods"])
    rows = [
        {
            "task": row["family"],
            "router": shown(row["router"]),
            "which chose": f"{row['profile']}, k={row['k']}",
        }
        | {drafter: shown(row["alone"][drafter]) for drafter in drafters}
        for row in sorted(of_pools[name]["rows"], key=lambda row: row["router"][0])
    ]
    columns = ["task", *drafters, "router", "which chose"]
    return f"{table(rows, [(column, word(column)) for column in columns])}\n\nFrom `{name}.json`."


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
