"""Reads tasks out of the cells, and what all tasks of a profile have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, get_args

from policies.acceptance import CommonShift, common_shift, level, pooled, replays
from policies.cells import CellKey, CellReader, TemperatureBucket
from policies.priors import prior
from policies.task_beliefs import UNKNOWN_DRAFTER, Drafter, Levels, Settings, TaskBeliefs
from policies.tasks import TASKS

_BUCKETS: Final[tuple[TemperatureBucket, ...]] = get_args(TemperatureBucket)
_SHIFT_FRESH_S: Final = 5.0
"""What all tasks have in common moves slowly, and reading it reads them all."""
_MAX_KEPT: Final = 10_000


class TaskReader:
    """Reads tasks out of the cells. What all tasks of a profile share is kept for some seconds."""

    def __init__(self, cells: CellReader, drafters: Mapping[str, Drafter]) -> None:
        self._cells = cells
        self._drafters = drafters
        self._levels: dict[tuple[str, str, float], Levels] = {}
        self._shifts: dict[tuple[str, float, float], tuple[float, CommonShift]] = {}
        self._tasks: dict[str, set[str]] = {}
        self._seen_generation = 0

    def read(self, profile: str, task: str, settings: Settings, now_s: float) -> TaskBeliefs:
        """The task as its cells say at `now_s`, on a prior that all tasks of the profile have moved.

        An operator's own `prior_alpha` is taken as it stands.
        """
        drafter = self._drafters.get(profile, UNKNOWN_DRAFTER)
        assumed = prior(drafter.method, task, settings.prior_alpha)
        levels = self._read_levels(profile, task, settings.half_life_s, now_s)
        if settings.prior_alpha is None:
            shift = self._shift(profile, settings.half_life_s, settings.prior_strength, now_s)
            assumed = shift.of(task).applied(assumed)
        return TaskBeliefs(
            self._cells,
            CellKey(profile, task, "low"),
            levels=levels,
            assumed=assumed,
            settings=settings,
            max_k=drafter.max_k,
        )

    def _shift(self, profile: str, half_life_s: float, strength: float, now_s: float) -> CommonShift:
        asked = (profile, half_life_s, strength)
        kept = self._shifts.get(asked)
        if kept is not None and abs(now_s - kept[0]) < _SHIFT_FRESH_S:
            return kept[1]
        self._note_tasks()
        method = self._drafters.get(profile, UNKNOWN_DRAFTER).method
        evidence = {}
        for task in (*TASKS, *sorted(self._tasks.get(profile, set()) - set(TASKS))):
            levels = self._levels.get((profile, task, half_life_s))
            if levels is None or not abs(now_s - levels.read_s) < _SHIFT_FRESH_S:
                levels = self._read_levels(profile, task, half_life_s, now_s)
            evidence[task] = (prior(method, task), levels.for_shift)
        shift = common_shift(evidence, prior_strength=strength)
        if len(self._shifts) >= _MAX_KEPT:
            self._shifts.clear()
        self._shifts[asked] = (now_s, shift)
        return shift

    def _read_levels(self, profile: str, task: str, half_life_s: float, now_s: float) -> Levels:
        key = CellKey(profile, task, "low")
        counted = self._decayed(key, half_life_s, now_s)
        copied = self._decayed(key.of_replays(), half_life_s, now_s)
        total, replayed = level(pooled(counted.values())), replays(pooled(copied.values()))
        levels = Levels(
            read_s=now_s,
            total=total,
            by_bucket={
                bucket: level(counts, correlation=total.design.correlation)
                for bucket, counts in counted.items()
            },
            replayed=replayed,
            replayed_by_bucket={bucket: replays(counts, above=replayed) for bucket, counts in copied.items()},
        )
        if len(self._levels) >= _MAX_KEPT:
            self._levels.clear()
        self._levels[(profile, task, half_life_s)] = levels
        return levels

    def _decayed(
        self, key: CellKey, half_life_s: float, now_s: float
    ) -> dict[TemperatureBucket, Mapping[str, float]]:
        found = {}
        for bucket in _BUCKETS:
            record = self._cells.get(key._replace(temperature=bucket))
            if record is not None:
                found[bucket] = record.decayed_to(now_s, half_life_s)
        return found

    def _note_tasks(self) -> None:
        """Learn the names of tasks that are in no table, from the cells that changed."""
        generation = self._cells.generation
        if generation != self._seen_generation:
            for key in self._cells.changed_since(self._seen_generation):
                self._tasks.setdefault(key.served_profile, set()).add(key.task)
            self._seen_generation = generation
