"""The arithmetic of one cell: a delta joins a record. The store's Lua script does the same."""

from __future__ import annotations

from collections.abc import Mapping

from policies.cells import EMPTY_RECORD, CellDelta, CellRecord, decay_factor


def added(record: CellRecord | None, delta: CellDelta, at_s: float) -> CellRecord:
    """The record after `delta`, counted at `at_s`, joined it.

    Both sides are brought to the later of the two times t: counters become
    record · 2^(-(t - updated_at)/half_life) + delta · 2^(-(t - at)/half_life). A record therefore never goes
    back in time, and deltas may arrive in any order with the same result. Lifetime totals are plain sums.
    """
    if record is None:
        record = EMPTY_RECORD
        updated_at_s = at_s
    else:
        updated_at_s = max(record.updated_at_s, at_s)
    return CellRecord(
        counters=_sum(
            record.counters,
            decay_factor(updated_at_s - record.updated_at_s, delta.half_life_s),
            delta.counters,
            decay_factor(updated_at_s - at_s, delta.half_life_s),
        ),
        lifetime={
            **record.lifetime,
            **{name: record.lifetime.get(name, 0) + count for name, count in delta.lifetime.items()},
        },
        updated_at_s=updated_at_s,
        epoch=record.epoch,
    )


def _sum(
    old: Mapping[str, float], old_weight: float, new: Mapping[str, float], new_weight: float
) -> dict[str, float]:
    total = dict(old) if old_weight == 1.0 else {name: value * old_weight for name, value in old.items()}
    for name, value in new.items():
        total[name] = total.get(name, 0.0) + value * new_weight
    return total
