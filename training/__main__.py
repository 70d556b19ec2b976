"""Trains the task classifier, and measures it.

    python -m training train --data task_prompts_train.jsonl    # writes router/tasks/model/tasks.npz
    python -m training evaluate --data task_prompts_dev.jsonl   # figures, confusion matrix, cost of errors
    python -m training speed                                    # p50 and p99 by prompt length

Rows have `task`, `source` and `messages`. Training takes some minutes on one core and is deterministic: the
same rows and library versions on the same machine give the same bytes. What is evaluated is the artefact in
the package.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from policies.tasks import TASKS
from router.tasks import RuleClassifier, TaskClassifier, trained
from router.tasks.request_text import request_text
from router.tasks.trained import softmax, trained_classifier
from training import cost, export, fitting, report
from training.data import training_rows
from training.report import Answer
from training.rows import Row, read_rows
from training.settings import Settings
from training.speed import speed_table

_TARGET = Path(trained.__file__).parent / trained.ARTEFACT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(prog="python -m training", description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(required=True)
    train = commands.add_parser("train", help="fit, calibrate and write the artefact")
    train.add_argument("--data", type=Path, required=True, help="JSON Lines of labelled prompts")
    train.add_argument("--output", type=Path, default=_TARGET)
    train.set_defaults(run=lambda options: _train(options.data, options.output, Settings()))
    evaluate = commands.add_parser("evaluate", help="measure the artefact on labelled prompts")
    evaluate.add_argument("--data", type=Path, required=True, help="JSON Lines of labelled prompts")
    evaluate.set_defaults(run=lambda options: _evaluate(options.data))
    speed = commands.add_parser("speed", help="measure the time of a classification by prompt length")
    speed.set_defaults(run=lambda _: print("\n".join(speed_table(trained_classifier()))))
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (OSError, KeyError, json.JSONDecodeError) as error:
        print(f"{parser.prog}: {error!r}", file=sys.stderr)
        return 2
    return 0


def _train(data: Path, output: Path, settings: Settings) -> None:
    public = read_rows(data)
    print(f"{len(public)} public rows; leaving out groups of sources, {settings.folds} times", flush=True)
    left = fitting.leave_sources_out(public, settings)
    weights = _source_weights(public, settings.recipe.source_cap)
    at = fitting.temperature(left, weights)
    bar = fitting.bar(left, weights, at, settings)
    answers = _left_out_answers(left, at, bar)
    figures = {
        "macro_f1": report.macro_f1(answers),
        "mean_of_sources": float(np.mean(list(report.per_source(answers).values()))),
        "calibration_error": report.calibration_error(answers),
    }
    print(f"sources left out: {_shown(figures)}; temperature {at:.3f}, bar {bar}", flush=True)
    rows = training_rows(public, settings.recipe)
    made = export.artefact(
        fitting.fit(rows, settings), rows, settings, temperature=at, bar=bar, figures=figures
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(made)
    print(f"{output}: {len(made)} bytes, sha256 {hashlib.sha256(made).hexdigest()}")


def _evaluate(data: Path) -> None:
    print(f"rules alone: {_told(evaluated(data, RuleClassifier()))}")
    answers = evaluated(data, trained_classifier())
    sources = report.per_source(answers)
    print(f"{_told(answers)}, calibration error {report.calibration_error(answers):.3f}\n")
    print("\n".join(report.confusion_table(answers)))
    print("\nDecode time that errors cost (see training/cost.py):\n")
    print("\n".join(cost.cost_table(report.confusion(answers))))
    print("\nAccuracy by source:\n")
    for source, value in sorted(sources.items(), key=lambda item: item[1]):
        print(f"{value:.2f} {source}")


def _told(answers: Sequence[Answer]) -> str:
    sources = report.per_source(answers)
    hard = [one.truth == one.answer for one in answers if one.hard]
    told = f"{len(answers)} rows, macro-F1 {report.macro_f1(answers):.3f}"
    told += f", accuracy {report.accuracy(answers):.3f}"
    told += f", mean of {len(sources)} sources {np.mean(list(sources.values())):.3f}"
    return told + (f", hard {sum(hard)}/{len(hard)}" if hard else "")


def evaluated(data: Path, classifier: TaskClassifier) -> list[Answer]:
    """The classifier's answers to the rows of a file, whose ids say which are meant to be hard."""
    with data.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    answers = []
    for row in rows:
        found = classifier.classify(request_text({"messages": row["messages"]}))
        hard = str(row.get("id", "")).startswith("hard-")
        answers.append(Answer(row["task"], found.task, row["source"], found.confidence, hard))
    return answers


def _left_out_answers(left: fitting.LeftOut, temperature: float, bar: float) -> list[Answer]:
    chances = softmax(left.scores / np.float32(temperature))
    answers = []
    for row, chance in zip(left.rows, chances, strict=True):
        winner = int(chance.argmax())
        task = TASKS[winner] if chance[winner] >= bar else trained.OTHER
        answers.append(Answer(row.task, task, row.source, float(chance[winner])))
    return answers


def _source_weights(rows: Sequence[Row], cap: float) -> NDArray[np.float64]:
    counts = Counter((row.task, row.source) for row in rows)
    return np.array([min(1.0, cap / counts[row.task, row.source]) for row in rows])


def _shown(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in figures.items())


if __name__ == "__main__":
    sys.exit(main())
