"""What became of the requests of every scenario that ran: one table at the end of `make chaos`, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from traffic import Tally


class Row(NamedTuple):
    """One scenario: how many requests there were, and what came of them."""

    scenario: str
    engines: str
    requests: int
    failed: int
    """Lost, wrong, or refused where nothing should have been."""
    resumed: int | None = None
    """Streams that went on elsewhere; None where nobody counted."""
    broken: int = 0
    """Connections that broke with a router or the proxy; their requests were sent again, and answered."""
    told_to_wait: int = 0
    """Answered 503 with Retry-After, sent again, and answered."""


def tally_row(scenario: str, tally: Tally) -> Row:
    """What `traffic` counted over fake engines."""
    return Row(
        scenario,
        "fake",
        tally.requests,
        failed=len(tally.complaints),
        broken=tally.broken,
        told_to_wait=tally.told_to_wait,
    )


ROWS: list[Row] = []
"""Of this run."""


def table(rows: Sequence[Row]) -> str:
    """All scenarios and their sum, in columns."""
    total = Row(
        "all",
        "",
        *(
            sum(getattr(row, name) or 0 for row in rows)
            for name in ("requests", "failed", "resumed", "broken", "told_to_wait")
        ),
    )
    cells = [[name.replace("_", " ") for name in Row._fields]]
    cells += [["-" if value is None else str(value) for value in row] for row in (*rows, total)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(Row._fields))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def write(rows: Sequence[Row], file: Path) -> None:
    """The rows as JSON, a list of objects."""
    file.write_text(json.dumps([row._asdict() for row in rows], indent=1) + "\n", encoding="utf-8")
