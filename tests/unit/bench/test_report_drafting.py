"""Sections and pictures of what drafters were measured to bring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_methods_figures import row

from bench.methods.figures import figures
from bench.report.page import regenerate
from bench.report.plots import picture
from bench.report.sections import section
from bench.results import Recording, write

pytestmark = pytest.mark.unit

GAIN = {"old": 1.2, "new": 1.5, "gain": 0.3, "low": 0.2, "high": 0.4}
COMPARED = {
    "length": GAIN,
    "alpha_by_position": [{**GAIN, "old": 0.2, "new": 0.4}, {**GAIN, "old": None, "new": 0.5}],
    "answers": 80,
}


def measured() -> dict[str, Any]:
    """Four prompts of one family."""
    rows = figures(map(row, range(4)))
    return Recording("methods", {"max_tokens": 64}).document({"rows": rows})


def test_methods_are_told_of_by_family_and_together() -> None:
    """With acceptance by position, what coverage leaves of the first, and time against plain decoding."""
    text = section(measured())
    assert "Answers of up to 64 tokens." in text
    assert "| all | ngram | 2 | 4 | 0.67 1.00 | 0.60 | 0.50 | 1.60 | 0.50 (0.50 to 0.50) | 4 |" in text
    assert "| qa | ngram |" in text


def test_methods_have_a_picture() -> None:
    """A panel for each arm that drafts, a line for each family."""
    drawn = picture(measured())
    assert drawn is not None
    assert "ngram k=2" in drawn
    assert "vanilla" not in drawn


def test_a_refresh_says_what_was_promoted_and_refused() -> None:
    """And how much of the lost acceptance length came back."""
    found = {
        "before": ["code"],
        "after": ["chat", "legal"],
        "answer_tokens": {"before": 9000, "after": 8000},
        "refresh": COMPARED,
        "promoted": True,
        "native": COMPARED,
        "restored_share": 0.9,
        "worse": COMPARED,
        "worse_promoted": False,
    }
    text = section(Recording("refresh", {}).document(found))
    assert "9,000 answer tokens of code; refreshed with 8,000 of chat, legal; compared on 80 answers" in text
    assert "brought 90% of the lost length back" in text
    assert "| stale → refreshed | 1.20 → 1.50 | +0.30 [+0.20, +0.40] | 0.20 - | 0.40 0.50 | yes |" in text
    assert "| no, refused |" in text


def test_a_calibrated_start_counts_what_agrees() -> None:
    """And shows each domain's arms."""
    arm = {"profile": "ngram", "k": 4}
    row = {"domain": "math", "task": "math", "warmed": arm, "fresh": arm, "recommended": {**arm, "k": 0}}
    row["fresh"] = {**arm, "expected_speedup": 1.234}
    rows = [
        {**row, "reported": "ngram", "same_route": True, "same_k": True, "as_reported": True},
        {**row, "reported": None, "same_route": True, "same_k": False, "as_reported": True},
    ]
    text = section(Recording("calibrated-start", {}).document({"rows": rows}))
    assert "Of 2 domains the fresh service took the warmed one's route for 2 and its k for 1;" in text
    assert "| math | math | ngram k=4 | ngram k=4 (1.23) | plain | (task unknown) |" in text


def test_the_command_that_measures_is_named_where_nothing_was_measured(tmp_path: Path) -> None:
    """No `specroute bench` of that name exists."""
    page = tmp_path / "page.md"
    page.write_text("<!-- bench: methods -->\n<!-- /bench -->\n", encoding="utf-8")
    (tmp_path / "results").mkdir()
    regenerate(tmp_path / "results", {page: "results"})
    assert "Not measured yet: `python -m bench.methods`." in page.read_text("utf-8")
    write(tmp_path / "results", "methods", measured())
    regenerate(tmp_path / "results", {page: "results"})
    assert "![methods](results/methods.svg)" in page.read_text("utf-8")
