"""Redecided records as arrays: what happened, what both policies would do, what was predicted for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from policies.decide import Score
from policies.off_policy.record import DecisionRecord
from policies.off_policy.redecide import Arm, Redecided

Measure = Literal["total_s", "decode_s", "tpot_s"]
MEASURES: Final[tuple[Measure, ...]] = ("total_s", "decode_s", "tpot_s")
"""From arrival at the engine to the last token; from the first token to the last; per token of the latter."""

_WHOLE: Final = ("group", "cluster")
_BY_GROUP: Final = ("logged", "candidate")

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Trials:
    """n requests of a log, in one measure. Groups are pools, once for drafts and once for plain decoding.

    A *choice* is what importance weights tell apart: an arm, or, across k, its group. Predictions are in the
    measure's seconds, for as many tokens as the answer had: routes do not change what is answered.

    Attributes:
        measured: (n) What was measured.
        predicted: (n) What had been predicted for the arm that was taken.
        group: (n) The group of that arm.
        logged: (n, groups) Predictions times the logged policy's probabilities, summed by group.
        candidate: (n, groups) The same under the candidate.
        ratio: (n) The candidate's probability of the taken choice over the logged policy's.
        matched: (n) The prediction for that choice as the candidate makes it; across k it may be another arm.
        added: (n) max(0, ratio - 1): how much more often the candidate does what was done.
        changed: (n) The probability that the candidate chooses otherwise than the logged policy.
        unseen: (n) The candidate's probability of choices the logged policy never makes.
        unseen_s: (n) Predictions times those probabilities.
        weight: (n) Requests that a record stands for.
        cluster: (n) Records of one cluster may go alike; from 0 without gaps.
    """

    measured: Floats
    predicted: Floats
    group: Whole
    logged: Floats
    candidate: Floats
    ratio: Floats
    matched: Floats
    added: Floats
    changed: Floats
    unseen: Floats
    unseen_s: Floats
    weight: Floats
    cluster: Whole

    def __len__(self) -> int:
        return len(self.measured)

    def part(self, chosen: NDArray[np.bool_]) -> Trials:
        """Some of the requests; clusters keep their numbers."""
        return Trials(*(getattr(self, name)[chosen] for name in self.__slots__))


def trials(
    records: Sequence[Redecided], clusters: Sequence[int], measure: Measure, *, across_k: bool
) -> tuple[Trials, list[int]]:
    """The records that can be used in this measure, and their indices.

    A record can be used if it was completed on the pool it was first sent to, its times are known and not 0
    (an answer of one token has nothing to decode), and there is a prediction for every arm of either policy.
    """
    groups: dict[Arm, int] = {}
    for found in records:
        for arm in found.scores:
            groups.setdefault(_group(arm), len(groups))
    columns: dict[str, list[Any]] = {name: [] for name in Trials.__slots__}
    indices = []
    for index, (found, cluster) in enumerate(zip(records, clusters, strict=True)):
        if not usable(found.record) or not (measured := _measured_s(found.record, measure)):
            continue
        predictions = {arm: _predicted_s(score, found.record, measure) for arm, score in found.scores.items()}
        if not found.logged.keys() | found.candidate.keys() <= predictions.keys():
            continue
        row = _row(found, predictions, groups, across_k=across_k)
        row |= {"measured": measured, "weight": 1.0 / found.record.sample, "cluster": cluster}
        for name, column in columns.items():
            column.append(row[name])
        indices.append(index)
    arrays: dict[str, Any] = {
        name: np.array(column, dtype=np.int64 if name in _WHOLE else np.float64)
        for name, column in columns.items()
    }
    for name in _BY_GROUP:
        arrays[name] = arrays[name].reshape(len(indices), len(groups))
    return Trials(**arrays), indices


def usable(record: DecisionRecord) -> bool:
    """Whether the record tells how long its own arm took."""
    return record.result == "completed" and not record.failovers


def by_choice(chances: Mapping[Arm, float], *, across_k: bool) -> dict[Arm, float]:
    """Probabilities of arms, summed by choice."""
    summed: dict[Arm, float] = {}
    for arm, chance in chances.items():
        choice = _group(arm) if across_k else arm
        summed[choice] = summed.get(choice, 0.0) + chance
    return summed


def _row(
    found: Redecided, predictions: Mapping[Arm, float], groups: Mapping[Arm, int], *, across_k: bool
) -> dict[str, Any]:
    taken = (found.record.profile, found.record.k)
    choice = _group(taken) if across_k else taken
    logged = by_choice(found.logged, across_k=across_k)
    candidate = by_choice(found.candidate, across_k=across_k)
    # Of a taken arm that the logged chances lack, nothing can be said: it weighs nothing.
    ratio = candidate.get(choice, 0.0) / logged[choice] if logged.get(choice) else 0.0
    unseen = {choice: chance for choice, chance in candidate.items() if not logged.get(choice)}
    alike = [
        (chance, predictions[arm])
        for arm, chance in found.candidate.items()
        if (_group(arm) if across_k else arm) == choice
    ]
    share = sum(chance for chance, _ in alike)
    return {
        "predicted": predictions[taken],
        "group": groups[_group(taken)],
        "logged": _grouped(found.logged, predictions, groups),
        "candidate": _grouped(found.candidate, predictions, groups),
        "ratio": ratio,
        "matched": sum(c * s for c, s in alike) / share if share > 0 else predictions[taken],
        "added": max(0.0, ratio - 1.0),
        "changed": sum(max(0.0, chance - logged.get(c, 0.0)) for c, chance in candidate.items()),
        "unseen": sum(unseen.values()),
        "unseen_s": sum(
            chance * predictions[arm]
            for arm, chance in found.candidate.items()
            if (_group(arm) if across_k else arm) in unseen
        ),
    }


def _group(arm: Arm) -> Arm:
    """The pool, once for drafts and once for plain decoding; written as its first arm."""
    profile, k = arm
    return profile, min(k, 1)


def _grouped(
    chances: Mapping[Arm, float], predictions: Mapping[Arm, float], groups: Mapping[Arm, int]
) -> list[float]:
    sums = [0.0] * len(groups)
    for arm, chance in chances.items():
        sums[groups[_group(arm)]] += chance * predictions[arm]
    return sums


def _measured_s(record: DecisionRecord, measure: Measure) -> float | None:
    decode_s, first_s, tokens = record.decode_s, record.engine_ttft_s, record.completion_tokens
    if decode_s is None or tokens is None:
        return None
    match measure:
        case "decode_s":
            return decode_s
        case "tpot_s":
            return decode_s / (tokens - 1) if tokens > 1 else None
        case "total_s":
            return None if first_s is None else first_s + decode_s


def _predicted_s(score: Score, record: DecisionRecord, measure: Measure) -> float:
    """Of an arm, for as many tokens as the answer had."""
    expected = max(1.0, record.context.output_tokens - 1.0)
    per_token_s = score.decode_s / expected
    tokens = max(0, (record.completion_tokens or 0) - 1)
    match measure:
        case "decode_s":
            return per_token_s * tokens
        case "tpot_s":
            return per_token_s
        case "total_s":
            return score.wait_s + score.ttft_s + per_token_s * tokens
