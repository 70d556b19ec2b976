"""How good the classifier is on prompts it was not trained on.

The floors lie a little below what was measured when the weights were made (docs/task-classifier.md).
"""

from __future__ import annotations

from pathlib import Path
from statistics import mean

import pytest

from router.tasks.trained import trained_classifier
from training import report
from training.__main__ import evaluated
from training.report import Answer

pytestmark = pytest.mark.integration

DEV_SET = Path(__file__).resolve().parents[3] / "shared" / "data" / "task_prompts_dev.jsonl"
MACRO_F1_FLOOR = 0.84
SOURCE_MEAN_FLOOR = 0.88
HARD_FLOOR = 0.70
CALIBRATION_CEILING = 0.07


@pytest.fixture(scope="module")
def answers() -> list[Answer]:
    if not DEV_SET.exists():
        pytest.skip(f"no development prompts at {DEV_SET}")
    return evaluated(DEV_SET, trained_classifier())


def test_macro_f1_on_the_dev_set(answers: list[Answer]) -> None:
    """A new training may trade tasks for one another, not lose the whole."""
    print("\n" + "\n".join(report.confusion_table(answers)))
    assert report.macro_f1(answers) >= MACRO_F1_FLOOR


def test_every_source_weighs_alike(answers: list[Answer]) -> None:
    """Prompts of one template are not independent; means per source are the fairer measure."""
    assert mean(report.per_source(answers).values()) >= SOURCE_MEAN_FLOOR


def test_the_difficult_rows(answers: list[Answer]) -> None:
    """Other languages, code inside other requests, labels in the text, last turns that change the task."""
    assert report.accuracy([one for one in answers if one.hard]) >= HARD_FLOOR


def test_confidence_is_what_it_says(answers: list[Answer]) -> None:
    """Of answers given with confidence c about a share c is right."""
    assert report.calibration_error(answers) <= CALIBRATION_CEILING
