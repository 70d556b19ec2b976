"""From answers to figures: medians over repeats, paired ratios and their intervals.

The measure that ratios compare is the time of a whole answer per token, first one included: the sum of the
answers' times over the sum of their tokens. Greedily decoded answers are equally long on all sides, so this
is the ratio of completion times; sampled ones are not. Sides answer the same prompts in the same order within
a repeat. A ratio is the median over repeats; its interval holds 95 % of what comes out where repeats are
drawn anew and, in each of them, prompts (the two-stage bootstrap of Davison and Hinkley, Bootstrap Methods
and their Application, section 3.8).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from bench.endtoend.answers import Answer
from bench.endtoend.sides import ADAPTIVE, VANILLA
from bench.overhead.figures import Interval, interval

_RESAMPLES: Final = 2000
Array = np.ndarray[Any, np.dtype[np.float64]]


class Objective(NamedTuple):
    """What an answer must meet to be good, in seconds."""

    ttft_s: float = 2.0
    tpot_s: float = 0.2

    def met(self, answer: Answer) -> bool:
        """Whether the answer met both."""
        return answer.ttft_s <= self.ttft_s and (answer.tpot_s or 0.0) <= self.tpot_s


@dataclass(frozen=True, slots=True)
class Measured:
    """What one side answered in one block."""

    repeat: int
    load: str
    sampling: str
    side: str
    seconds: float
    answers: Sequence[Answer]


Place = tuple[str, str]
"""Load and sampling."""
EVERYWHERE: Final[Place] = ("all", "all")
"""All loads and samplings together."""
Rows = Mapping[Place, Mapping[str, Mapping[int, Measured]]]
"""By load and sampling, side and repeat."""


def figures(blocks: Iterable[Measured], objective: Objective) -> dict[str, Any]:
    """All figures: `cells`, `ratios`, `tasks`, `arms`; see the functions of these names.

    Each for every load and sampling, and for all of them together: one of them has few answers of a task.
    """
    rows: dict[Place, dict[str, dict[int, Measured]]] = defaultdict(lambda: defaultdict(dict))
    for block in blocks:
        rows[block.load, block.sampling][block.side][block.repeat] = block
    if len(rows) > 1:
        rows[EVERYWHERE] = _everywhere(rows)
    return {"cells": cells(rows, objective), "ratios": ratios(rows), "tasks": tasks(rows), "arms": arms(rows)}


def _everywhere(rows: Rows) -> dict[str, dict[int, Measured]]:
    """What sides answered in a repeat under all loads and samplings; not of those that had fewer."""
    places = list(rows.values())
    found: dict[str, dict[int, Measured]] = {}
    for side in dict.fromkeys(side for sides in places for side in sides):
        of_side = [sides.get(side, {}) for sides in places]
        for repeat in sorted(set.intersection(*(set(repeats) for repeats in of_side))):
            blocks = [repeats[repeat] for repeats in of_side]
            seconds = sum(block.seconds for block in blocks)
            answers = [answer for block in blocks for answer in block.answers]
            found.setdefault(side, {})[repeat] = Measured(repeat, *EVERYWHERE, side, seconds, answers)
    return found


def cells(rows: Rows, objective: Objective) -> list[dict[str, Any]]:
    """Per load, sampling and side: its times, tokens and good answers per second, overall."""
    found = []
    for (load, sampling), sides in rows.items():
        for side, repeats in sides.items():
            blocks = [_block(repeats[number], objective) for number in sorted(repeats)]
            row: dict[str, Any] = {"load": load, "sampling": sampling, "side": side, "repeats": len(blocks)}
            row["requests"] = sum(len(block.answers) for block in repeats.values())
            for measure in blocks[0]:
                values = np.array([block[measure] for block in blocks])
                row[measure] = interval(values, lambda medians: medians[..., 0])
            found.append(row)
    return found


def _block(block: Measured, objective: Objective) -> dict[str, float]:
    answers = block.answers
    tpots = [answer.tpot_s for answer in answers if answer.tpot_s is not None]
    return {
        "ttft_s": float(np.median([answer.ttft_s for answer in answers])),
        "tpot_s": float(np.median(tpots)) if tpots else 0.0,
        "completion_s": float(np.median([answer.total_s for answer in answers])),
        "completion_p95_s": float(np.percentile([answer.total_s for answer in answers], 95)),
        "per_token_s": _per_token(answers),
        "tokens_per_s": sum(answer.tokens for answer in answers) / block.seconds,
        "goodput_per_s": sum(map(objective.met, answers)) / block.seconds,
    }


def ratios(rows: Rows) -> list[dict[str, Any]]:
    """Per load and sampling: every side to vanilla, and adaptive to every other one; below 1 is faster."""
    found = []
    for (load, sampling), sides in rows.items():
        pairs = [(side, VANILLA) for side in sides if side != VANILLA]
        pairs += [(ADAPTIVE, side) for side in sides if side not in {ADAPTIVE, VANILLA} and ADAPTIVE in sides]
        for side, to in pairs:
            value = ratio(sides[side], sides.get(to, {}))
            if value is not None:
                found.append({"load": load, "sampling": sampling, "side": side, "to": to, "ratio": value})
    return found


def tasks(rows: Rows) -> list[dict[str, Any]]:
    """Per load, sampling, task and side: the side to vanilla, and the time per token itself."""
    found = []
    for (load, sampling), sides in rows.items():
        names = {a.task: None for repeats in sides.values() for b in repeats.values() for a in b.answers}
        for task in names:
            for side, repeats in sides.items():
                value = None if side == VANILLA else ratio(repeats, sides.get(VANILLA, {}), task)
                of_task = [[a for a in block.answers if a.task == task] for block in repeats.values()]
                times = np.array([_per_token(answers) for answers in of_task if answers])
                per_token = interval(times, lambda medians: medians[..., 0])
                row = {"load": load, "sampling": sampling, "task": task, "side": side}
                found.append(row | {"per_token_s": per_token, "to_vanilla": value})
    return found


def arms(rows: Rows) -> list[dict[str, Any]]:
    """Per load, sampling and side that decides: how often each task got which pool and k."""
    found = []
    for (load, sampling), sides in rows.items():
        for side, repeats in sides.items():
            counts: dict[str, Counter[str]] = defaultdict(Counter)
            for block in repeats.values():
                for answer in block.answers:
                    counts[answer.task][f"{answer.profile} k={answer.k}"] += 1
            if len({arm for counter in counts.values() for arm in counter}) > 1:
                found += [
                    {"load": load, "sampling": sampling, "side": side, "task": task, "arms": dict(counter)}
                    for task, counter in counts.items()
                ]
    return found


def ratio(
    ours: Mapping[int, Measured], others: Mapping[int, Measured], task: str | None = None
) -> Interval | None:
    """Time per token of one side over another's, of one task or all; None without a repeat of both."""
    tables = [_pairs(ours[number], others[number], task) for number in sorted(ours) if number in others]
    tables = [table for table in tables if len(table)]
    if not tables:
        return None
    rng = np.random.default_rng(1)
    drawn = np.stack(
        [_quotient(table[rng.integers(len(table), size=(_RESAMPLES, len(table)))]) for table in tables]
    )
    repeats = rng.integers(len(tables), size=(_RESAMPLES, len(tables)))
    draws = rng.integers(_RESAMPLES, size=repeats.shape)
    low, high = np.percentile(np.median(drawn[repeats, draws], axis=1), [2.5, 97.5])
    value = float(np.median([_quotient(table) for table in tables]))
    return Interval(value, float(low), float(high))


def _pairs(ours: Measured, others: Measured, task: str | None) -> Array:
    """A row for each prompt: our seconds and tokens, theirs."""
    rows = [
        (our.total_s, our.tokens, other.total_s, other.tokens)
        for our, other in zip(ours.answers, others.answers, strict=True)
        if our.prompt == other.prompt and task in {None, our.task} and our.tokens and other.tokens
    ]
    return np.array(rows, dtype=np.float64)


def _quotient(table: Array) -> Array:
    """Of rows (..., prompts, 4): the ratio of the times per token (...)."""
    sums = table.sum(axis=-2)
    found: Array = (sums[..., 0] / sums[..., 1]) / (sums[..., 2] / sums[..., 3])
    return found


def _per_token(answers: Sequence[Answer]) -> float:
    return sum(answer.total_s for answer in answers) / max(1, sum(answer.tokens for answer in answers))
