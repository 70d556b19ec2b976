"""The report as Markdown that reads well on a terminal: its tables are aligned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from router.reporting.words import UNKNOWN, VERDICTS, facts, row_of, span

COLUMNS: Final = (
    "requests",
    "held out",
    "speculative",
    "time vs plain",
    "interval",
    "time saved",
    "passes saved",
    "",
)


def markdown(report: Mapping[str, Any]) -> str:
    """The report, ending with a newline."""
    overall = report["overall"]
    verdict = VERDICTS.get(overall["verdict"], overall["verdict"])
    parts = [
        "# What speculation saved",
        span(report),
        f"**{verdict}: {_sentence(overall['note'])}**",
        "\n".join(f"- {name}: {value}" for name, value in facts(report)),
    ]
    for title, name in (("Tasks", "task"), ("Tenants", "tenant")):
        if found := report[f"{name}s"]:
            rows = [tuple(row_of(claim[name], claim)) for claim in found]
            parts += [f"## {title}", table((name, *COLUMNS), rows)]
    if capacity := report["capacity"]:
        parts += ["## Load", capacity["statement"]]
        if capacity["tasks"]:
            rows = [(one["task"], _load(one), one["profile"] or UNKNOWN) for one in capacity["tasks"]]
            parts.append(table(("task", "plain alone is faster", "compared with"), rows))
    if report["notes"]:
        parts += ["## Notes", "\n".join(f"- {note}" for note in report["notes"])]
    return "\n\n".join(parts) + "\n"


def _load(one: Mapping[str, Any]) -> str:
    match one["status"]:
        case "from":
            return f"from {one['batch']} requests at once per engine on"
        case "never":
            return "never"
        case "always":
            return "at every load"
        case _:
            return "not known"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table: numbers to the right, the first column and the last, which are words, to the left."""
    rows = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]
    words = {0, len(head) - 1}

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if place in words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [
        "-" * max(width, 1) if place in words else "-" * max(width - 1, 1) + ":"
        for place, width in enumerate(widths)
    ]
    return "\n".join([line(head), line(rule), *map(line, rows)])


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
