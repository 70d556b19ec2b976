"""The table of figures that a README shows."""

from __future__ import annotations

from collections.abc import Mapping

from bench.report.tables import shown, table, word
from bench.results import Document


def gains(documents: Mapping[str, Document], results: str) -> str:
    """By task, time per token over plain decoding: of each drafter alone, and of the router that has both.

    Of the result of `python -m bench.methods.pools` with most tasks, and the file it is from, in the folder
    `results`; "" without any.
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
    made = table(rows, [(column, word(column)) for column in columns])
    return f"{made}\n\nFrom [{name}.json]({results}/{name}.json)."
