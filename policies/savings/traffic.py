"""What the counted traffic is like, for the capacity statement."""

from __future__ import annotations

import math
from collections.abc import Mapping

from policies.decide import Work
from policies.savings.sums import Cell, Sums, Tally


def traffic(cells: Mapping[Cell, Sums]) -> dict[str, Tally]:
    """What was counted of each task, by anybody."""
    tasks: dict[str, Tally] = {}
    for cell, sums in cells.items():
        known = tasks.get(cell.task, Tally())
        tasks[cell.task] = Tally(*map(sum, zip(known, sums.tally, strict=True)))
    return tasks


def mean_work(tasks: Mapping[str, Tally]) -> Work:
    """What the mean request takes; what is usually assumed where there was none."""
    requests = math.fsum(tally.requests for tally in tasks.values())
    if not requests:
        return Work()
    return Work(
        math.fsum(tally.prompt_tokens for tally in tasks.values()) / requests,
        math.fsum(tally.output_tokens for tally in tasks.values()) / requests,
    )
