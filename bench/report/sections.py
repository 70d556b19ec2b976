"""What each bench's document comes to in words and tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from bench.report.drafting import calibrated_start, methods, pools, refresh
from bench.report.end_to_end import end_to_end
from bench.report.tables import figure, median, shown, table, word
from bench.results import Document


def section(document: Document, picture: str | None = None) -> str:
    """The document as Markdown; `picture` is where its picture lies, as a link from there."""
    parts = [about(document), _SECTIONS[document["bench"]](document)]
    if picture is not None:
        parts.append(f"![{document['bench']}]({picture})")
    return "\n\n".join(parts)


def known(document: Document) -> bool:
    """Whether there is a section for it here."""
    return document["bench"] in _SECTIONS


def about(document: Document) -> str:
    """On what it was measured, when, and with what."""
    machine = document["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    commit = f" at commit {document['commit']}" if document.get("commit") else ""
    fake = " Engines pretend: this tries the bench, not the router." if _pretends(document) else ""
    return (
        f"Measured {document['date'][:10]}{commit} in {document['seconds']:.0f} s on "
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, Python "
        f"{machine['python']}; load of the machine {machine['load']} before and {machine['load_after']} "
        f"after. {versions}.{fake}"
    )


def _pretends(document: Document) -> bool:
    return bool(document.get("settings", {}).get("fake_engines"))


def _overhead(document: Document) -> str:
    load = document["load"]
    parts = [
        f"{load['repeats']} repeats, {load['step_ms']} ms between chunks, times in ms.",
        *(f"{name} was not installed and is left out." for name in document["not_installed"]),
        *(
            f"{name} failed and is left out: {' '.join(why.split())}"
            for name, why in document["failed"].items()
        ),
        table(
            document["cells"],
            [
                ("side", word("side")),
                ("chunks", word("chunks")),
                ("clients", word("clients")),
                ("total", median("total_ms")),
                ("added", figure("added_total_ms")),
                ("added to the first event", figure("added_first_ms")),
                ("CPU", median("cpu_ms")),
                ("added CPU", figure("added_cpu_ms")),
            ],
        ),
        "What specroute adds, as a ratio to what others add (none where those added nothing):"
        if document["comparisons"]
        else "",
        table(
            document["comparisons"],
            [
                ("beside", word("to")),
                ("chunks", word("chunks")),
                ("clients", word("clients")),
                ("total", figure("added_total_ms")),
                ("first event", figure("added_first_ms")),
                ("CPU", figure("added_cpu_ms")),
                ("whole time", figure("total_ms")),
            ],
        ),
    ]
    return "\n\n".join(part for part in parts if part)


def _decision(document: Document) -> str:
    return "\n\n".join(
        [
            table(
                document["decision"],
                [
                    ("policy", word("side")),
                    ("decisions per second and core", figure("decisions_per_s", 0)),
                    ("median, µs", figure("decision_p50_us", 0)),
                    ("99 of 100, µs", figure("decision_p99_us", 0)),
                    ("record of an outcome, µs", figure("record_p50_us", 0)),
                    ("background refresh, % of a core", figure("refresh_share_of_core_percent", 1)),
                ],
            ),
            table(
                document["classification"],
                [
                    ("request", word("side")),
                    ("classifications per second and core", figure("classifications_per_s", 0)),
                    ("median, µs", figure("classification_p50_us", 0)),
                    ("99 of 100, µs", figure("classification_p99_us", 0)),
                ],
            ),
        ]
    )


def _store(document: Document) -> str:
    memory = document["memory"][0]
    return "\n\n".join(
        [
            table(
                document["flush"],
                [
                    ("requests per flush", word("side")),
                    ("router, µs per request", figure("router_us_per_request", 0)),
                    ("store, µs per request", figure("store_us_per_request", 0)),
                    ("whole flush, ms", figure("flush_ms", 1)),
                ],
            ),
            (
                f"10,000 (tenant, task) cells take {shown(memory['store_bytes'], 1, 1e-6)} MB in the store "
                f"and {shown(memory['router_bytes'], 1, 1e-6)} MB in a router; what decisions read of them "
                f"{shown(memory['beliefs_bytes'], 1, 1e-6)} MB, once every tenant has asked for every task. "
                f"A new router reads them in {shown(memory['read_s'], 2)} s."
            ),
        ]
    )


def _scaling(document: Document) -> str:
    return "\n\n".join(
        [
            table(
                document["tenants"],
                [
                    ("tenants", word("side")),
                    ("decision, median µs", figure("decision_p50_us", 0)),
                    ("ratio", figure("ratio_decision_p50_us")),
                    ("known cell, median µs", figure("again_p50_us", 0)),
                    ("99 of 100, µs", figure("decision_p99_us", 0)),
                    ("background refresh, % of a core", figure("refresh_share_of_core_percent", 1)),
                ],
            ),
            table(
                document["routers"],
                [
                    ("routers", word("side")),
                    ("requests per second", figure("requests_per_s", 0)),
                    ("ratio", figure("ratio_requests_per_s")),
                    ("CPU per request, ms", figure("cpu_ms_per_request", 2)),
                    ("ratio", figure("ratio_cpu_ms_per_request")),
                    ("median answer, ms", figure("total_p50_ms", 1)),
                ],
            ),
        ]
    )


def _startup(document: Document) -> str:
    return table(
        document["starts"],
        [
            ("start", word("side")),
            ("ready, s", figure("ready_s", 1)),
            ("ratio", figure("ratio_ready_s")),
            ("first answer, s", figure("answered_s", 1)),
            ("ended, s", figure("ended_s", 1)),
            ("`specroute --help`, s", figure("help_s", 2)),
        ],
    )


_SECTIONS: Final[Mapping[str, Callable[[Document], str]]] = {
    "end-to-end": end_to_end,
    "overhead": _overhead,
    "decision": _decision,
    "store": _store,
    "scaling": _scaling,
    "startup": _startup,
    "methods": methods,
    "pools": pools,
    "refresh": refresh,
    "calibrated-start": calibrated_start,
}
