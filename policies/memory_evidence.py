"""Evidence in plain memory: for one process that shares it with nobody, such as a simulation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from policies.cells import CellDelta, CellKey, CellRecord
from policies.merge import added


class MemoryEvidence(Mapping[CellKey, CellRecord]):
    """Cells under the arithmetic of the shared store: exact decay, additive, nothing goes back in time.

    Deltas of a cell decay with their own half-life from the moment they were counted, see `merge.added`.
    """

    def __init__(self, records: Mapping[CellKey, CellRecord] | None = None) -> None:
        self._records: dict[CellKey, CellRecord] = dict(records or {})
        self._generation = 0
        self._changed: dict[CellKey, int] = {}  # ordered: the newest change last
        for key in self._records:
            self._touch(key)

    def __getitem__(self, key: CellKey) -> CellRecord:
        return self._records[key]

    def __iter__(self) -> Iterator[CellKey]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    @property
    def generation(self) -> int:
        """Grows with every change of any cell."""
        return self._generation

    def record(self, deltas: Mapping[CellKey, CellDelta], now_s: float) -> None:
        """Count one outcome, at `now_s` seconds of any clock."""
        for key, delta in deltas.items():
            self._records[key] = added(self._records.get(key), delta, now_s)
            self._touch(key)

    def forget(self, key: CellKey, factor: float) -> None:
        """Multiply a cell's decaying counters by `factor` and raise its epoch, as after drift."""
        record = self._records.get(key)
        if record is None:
            return
        self._records[key] = CellRecord(
            {name: value * factor for name, value in record.counters.items()},
            record.lifetime,
            record.updated_at_s,
            record.epoch + 1,
        )
        self._touch(key)

    def changed_since(self, generation: int) -> set[CellKey]:
        """Cells changed after `generation`; work only for what changed."""
        changed = set()
        for key in reversed(self._changed):
            if self._changed[key] <= generation:
                break
            changed.add(key)
        return changed

    def _touch(self, key: CellKey) -> None:
        self._generation += 1
        self._changed.pop(key, None)
        self._changed[key] = self._generation
