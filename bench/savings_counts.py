"""What the savings report costs: counting one request, and making a report of many tenants and tasks.

Times are the thread's own, since the machine is shared.

    python -m bench.savings_counts [--requests 20000] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from random import Random

from policies.savings import Cell, Group, Observation, Scope, Sums, report, row_text
from policies.tasks import TASKS

_TENANTS = 100
_SHARE = 0.05


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    row = _measured(options.requests)
    if options.json:
        print(json.dumps(row))
    else:
        print("\n".join(f"{name:32s} {value:10.1f}" for name, value in row.items()))
    return 0


def _measured(requests: int) -> dict[str, float]:
    rng = Random(1)
    cells: dict[Cell, Sums] = {}
    row = {}
    groups: tuple[Group, Group] = ("routed", "holdout")
    for group in groups:
        seen = [_request(rng, group) for _ in range(requests)]
        places = [Cell(f"tenant-{rng.randrange(_TENANTS)}", rng.choice(TASKS), group) for _ in seen]
        started = time.thread_time()
        for cell, one in zip(places, seen, strict=True):
            known = cells.get(cell)
            cells[cell] = Sums.of(one) if known is None else known + Sums.of(one)
        row[f"{group}, µs a request"] = 1e6 * (time.thread_time() - started) / requests
    # Nearly all requests are routed: what both groups counted would be unsound.
    for cell, sums in cells.items():
        if cell.group == "routed":
            cells[cell] = Sums(tuple(value * (1 - _SHARE) / _SHARE for value in sums.row))
    started = time.thread_time()
    made = report(cells, Scope(86_400.0, 0.0, 86_400.0, 0.0, _SHARE))
    row["report, ms"] = 1e3 * (time.thread_time() - started)
    row["tenants in it"] = float(len(made["tenants"]))
    row["store, kB per hour"] = (
        sum(len(row_text(sums)) + len(str(cell)) for cell, sums in cells.items()) / 1e3
    )
    return row


def _request(rng: Random, group: Group) -> Observation:
    tokens = 2 + int(rng.expovariate(0.01))
    seconds = 0.01 * tokens * rng.lognormvariate(0.0, 0.2)
    return Observation(
        group,
        _SHARE,
        speculative=group == "routed",
        completed=True,
        tokens=tokens,
        decode_s=seconds,
        completion_s=seconds + 0.1,
        prompt_tokens=200,
        steps=tokens // 2,
        accepted=tokens // 2,
    )


if __name__ == "__main__":
    sys.exit(main())
