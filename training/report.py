"""Figures of a classifier on labelled rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

_ERROR_BINS = 10


@dataclass(frozen=True, slots=True)
class Answer:
    """What was right, what was answered, and where the row is from."""

    truth: str
    answer: str
    source: str
    confidence: float = 1.0
    hard: bool = False


def macro_f1(answers: Sequence[Answer]) -> float:
    """Mean over the labels that occur of 2 TP / (2 TP + FP + FN)."""
    return mean(f1_by_label(answers).values())


def f1_by_label(answers: Sequence[Answer]) -> Mapping[str, float]:
    """F1 of every label that occurs as a truth."""
    have = Counter(one.truth for one in answers)
    said = Counter(one.answer for one in answers)
    hits = Counter(one.truth for one in answers if one.truth == one.answer)
    return {label: 2 * hits[label] / (have[label] + said[label]) for label in sorted(have)}


def accuracy(answers: Sequence[Answer]) -> float:
    """Share of right answers."""
    return mean(one.truth == one.answer for one in answers)


def per_source(answers: Sequence[Answer]) -> Mapping[str, float]:
    """Accuracy on every source."""
    found: dict[str, list[Answer]] = defaultdict(list)
    for one in answers:
        found[one.source].append(one)
    return {source: accuracy(group) for source, group in sorted(found.items())}


def calibration_error(answers: Sequence[Answer]) -> float:
    """Mean over ten equal spans of confidence of |confidence - accuracy|, weighted by their answers."""
    bins: dict[int, list[Answer]] = defaultdict(list)
    for one in answers:
        bins[min(_ERROR_BINS - 1, int(one.confidence * _ERROR_BINS))].append(one)
    return sum(
        len(group) * abs(mean(one.confidence for one in group) - accuracy(group)) for group in bins.values()
    ) / len(answers)


def confusion(answers: Sequence[Answer]) -> Mapping[str, Counter[str]]:
    """For every truth, how often each answer was given."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for one in answers:
        found[one.truth][one.answer] += 1
    return dict(found)


def confusion_table(answers: Sequence[Answer]) -> Iterator[str]:
    """The confusion matrix as lines of Markdown: a row per truth, a column per answer."""
    found = confusion(answers)
    columns = sorted({one.answer for one in answers} | set(found))
    yield "| truth \\ answer | " + " | ".join(column[:5] for column in columns) + " | F1 |"
    yield "| --- |" + " ---: |" * (len(columns) + 1)
    scores = f1_by_label(answers)
    for truth in sorted(found):
        cells = " | ".join(str(found[truth][column] or "") for column in columns)
        yield f"| {truth} | {cells} | {scores[truth]:.2f} |"
