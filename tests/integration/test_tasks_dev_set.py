"""How good the rules are on prompts they were not tuned on."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from router.tasks import RuleClassifier, request_text

pytestmark = pytest.mark.integration

DEV_SET = Path(__file__).resolve().parents[3] / "shared" / "data" / "task_prompts_dev.jsonl"
MACRO_F1_FLOOR = 0.74


def macro_f1(pairs: list[tuple[str, str]]) -> float:
    """Mean over the labels of 2·TP / (2·TP + FP + FN), from pairs of (label, prediction)."""
    labels = {label for label, _ in pairs}
    hits = Counter(label for label, prediction in pairs if label == prediction)
    have = Counter(label for label, _ in pairs)
    said = Counter(prediction for _, prediction in pairs)
    return sum(2 * hits[label] / (have[label] + said[label]) for label in labels) / len(labels)


def test_macro_f1_on_the_dev_set_stays_above_the_floor() -> None:
    """A change of rules may trade tasks for one another, not lose the whole."""
    if not DEV_SET.exists():
        pytest.skip(f"no development prompts at {DEV_SET}")
    classifier = RuleClassifier()
    with DEV_SET.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    pairs = [
        (row["task"], classifier.classify(request_text({"messages": row["messages"]})).task) for row in rows
    ]
    assert macro_f1(pairs) >= MACRO_F1_FLOOR
