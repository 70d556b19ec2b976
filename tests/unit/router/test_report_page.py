"""docs/report.md: its example and its tables are what the code answers."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from policies.acceptance import Estimate
from policies.cost import StepTime
from policies.decide import Work
from policies.savings import (
    NEEDED,
    Cell,
    Drafts,
    EnginePool,
    Observation,
    Scope,
    Sums,
    Verdict,
    capacity,
    capacity_entry,
    report,
)
from policies.savings.capacity import Status
from router.reporting.words import VERDICTS

pytestmark = pytest.mark.unit

PAGE = (Path(__file__).parents[3] / "docs" / "report.md").read_text("utf-8")


def answered() -> dict[str, Any]:
    """A report of one task and tenant with everything in it."""
    cells: dict[Cell, Sums] = {}
    for group, number, seconds in (("holdout", 120, 1.0), ("routed", 2280, 0.7)):
        for place in range(number):
            seen = Observation(
                group,  # type: ignore[arg-type]
                0.05,
                completed=True,
                tokens=101,
                decode_s=seconds + 0.01 * (place % 3),
                completion_s=seconds + 0.1,
            )
            cell = Cell("acme", "code", group)  # type: ignore[arg-type]
            cells[cell] = cells.get(cell, Sums()) + Sums.of(seen)
    pools = [
        EnginePool("vanilla", StepTime(0.01, per_request=0.0002), 0.01, 1000.0, 64),
        EnginePool("ngram", StepTime(0.01, per_request=0.0002, per_drafted=0.0004), 0.01, 1000.0, 64, 4),
    ]
    drafts = Drafts("code", 1.0, Estimate((0.7,), (1.0,), (0.01,), 4, evidence_steps=1000.0))
    work = Work(100.0, 101.0)
    stated = capacity_entry(capacity(pools, {"ngram": [drafts]}, work), work, confidence=0.95)
    return report(cells, Scope(86_400.0, 0.0, 86_400.0, 0.0, 0.05), capacity=stated)


def same_shape(shown: Any, answer: Any, path: str) -> None:
    """Both have the same keys and kinds of values; null stands for anything."""
    if isinstance(shown, dict):
        assert shown.keys() == answer.keys(), path
        for name, value in shown.items():
            same_shape(value, answer[name], f"{path}.{name}")
    elif isinstance(shown, list):
        assert isinstance(answer, list), path
        for value in shown[:1]:
            same_shape(value, answer[0], f"{path}[0]")
    elif shown is not None and answer is not None:
        number = isinstance(shown, int | float) and not isinstance(shown, bool)
        assert isinstance(answer, int | float if number else type(shown)), path


def test_the_example_has_the_shape_of_the_answer() -> None:
    """Every key, with the kind of value that stands there; parts are shortened with an ellipsis."""
    text = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert text is not None
    shown, answer = json.loads(text[1]), answered()
    for name in ("tasks", "tenants"):
        (part,) = shown.pop(name)
        assert set(part) - {"…"} <= set(answer.pop(name)[0])
    (task,) = shown["capacity"].pop("tasks")
    assert set(task) <= set(answer["capacity"].pop("tasks")[0])
    same_shape(shown, answer, "")
    assert shown["overall"]["holdout_needed"] == NEEDED


@pytest.mark.parametrize(("heading", "values"), [("verdict", Verdict), ("capacity.status", Status)])
def test_the_tables_are_complete(heading: str, values: Any) -> None:
    """Every value that there is, and no other."""
    table = PAGE.split(f"| {heading} | |\n|---|---|\n")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(get_args(values))


def test_every_verdict_has_words() -> None:
    """For people."""
    assert VERDICTS.keys() == set(get_args(Verdict))
