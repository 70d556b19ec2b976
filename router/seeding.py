"""A fresh router starts from what a calibration measured, as if those requests had just been completed."""

from __future__ import annotations

from collections.abc import Mapping

from policies.cells import CellDelta, CellKey
from router.stats import StatsBuffer


def seed(
    buffer: StatsBuffer,
    acceptance: Mapping[CellKey, Mapping[str, float]],
    *,
    half_life_s: float,
    now_s: float,
) -> int:
    """Record the counters of cells that nobody has counted anything in; how many tasks got some.

    `acceptance` names tenants' cells; their task's total is theirs together, and what decides: where the task
    has evidence of its own, however old, the calibration adds nothing to it. What is added decays, is cut
    after drift and reaches the other routers like any evidence. It has no part in lifetime totals, which
    count requests that were served here.
    """
    by_task: dict[CellKey, list[CellKey]] = {}
    for key in acceptance:
        by_task.setdefault(key._replace(tenant=None), []).append(key)
    fresh = [(task, keys) for task, keys in by_task.items() if task not in buffer]
    for task, keys in fresh:
        for key in keys:
            delta = CellDelta(half_life_s, acceptance[key], {})
            buffer.record({task: delta, key: delta}, now_s)
    return len(fresh)
