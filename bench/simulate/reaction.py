"""How soon the router's arm follows a task whose acceptance changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from bench.simulate.drafting import ModelDrafting
from bench.simulate.experiment import ADAPTIVE, Comparison
from bench.simulate.watched import Watched
from bench.simulate.workload import TaskLoad

_WINDOW: Final = 20
_AGREEING: Final = 0.8


class Reaction(NamedTuple):
    """Requests of the task from its change until the oracle's arm was taken, by seed; None for never.

    `requests` counts those that were decided until then, `finished` those among them that were done: where
    many are in flight they are all that can have been learned from.
    """

    kind: Literal["fell", "rose"]
    requests: tuple[int | None, ...]
    finished: tuple[int | None, ...]


def reactions(group: Sequence[Comparison]) -> list[Reaction]:
    """The reactions to every change of the scenario's watched task."""
    scenario = group[0].scenario
    loads = [load for load in scenario.traffic.tasks if load.task == scenario.watched]
    found = []
    for kind, from_s, until_s in (change for load in loads for change in _changes(load)):
        after = [
            [point for point in comparison.sides[ADAPTIVE].watched if from_s <= point.at_s < until_s]
            for comparison in group
        ]
        if all(len(points) >= _WINDOW for points in after):
            taken = list(map(_taken_at, after))
            done = (
                None if at is None else points[at].finished for at, points in zip(taken, after, strict=True)
            )
            found.append(Reaction(kind, tuple(taken), tuple(done)))
    return found


def _changes(load: TaskLoad) -> list[tuple[Literal["fell", "rose"], float, float]]:
    found: list[tuple[Literal["fell", "rose"], float, float]] = []
    ends = [from_s for from_s, _ in load.drifts[1:]] + [float("inf")]
    before = load.drafting
    for (from_s, drafting), until_s in zip(load.drifts, ends, strict=True):
        if isinstance(before, ModelDrafting) and isinstance(drafting, ModelDrafting):
            found.append(("fell" if drafting.alpha < before.alpha else "rose", from_s, until_s))
        before = drafting
    return found


def _taken_at(after: Sequence[Watched]) -> int | None:
    """Requests until four of five of the next twenty decisions take the settled arm, explorations aside.

    The settled arm is the one the oracle takes most in the second half of the time after the change: what it
    does at first may be inertia of rules that both share. An arm that the true figures put within 2 % of it
    counts as well: between such neither knows nor needs to know.
    """
    settled, _ = Counter(
        (point.oracle_profile, point.oracle_k) for point in after[len(after) // 2 :]
    ).most_common(1)[0]
    decided = [(number, _takes(settled, point)) for number, point in enumerate(after) if not point.explored]
    for at in range(len(decided) - _WINDOW + 1):
        window = [takes for _, takes in decided[at : at + _WINDOW]]
        if window[0] and sum(window) >= _AGREEING * _WINDOW:
            return decided[at][0]
    return None


def _takes(settled: tuple[str, int], point: Watched) -> bool:
    if (point.profile, point.k) == settled:
        return True
    return (point.oracle_profile, point.oracle_k) == settled and point.agrees
