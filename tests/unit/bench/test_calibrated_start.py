"""What a calibrated start compares, without services."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.calibrated_start import SIDES, compared, main, parted

pytestmark = pytest.mark.unit

REPORT = {
    "policy": {
        "expected": [
            {"task": "qa", "temperature": "low", "route": "vanilla"},
            {"task": "qa", "temperature": "high", "route": "speculative"},
        ]
    }
}


def decided(**changed: dict[str, Any]) -> dict[str, Any]:
    """What three services decide of one domain, the same but for changes by side."""
    usual = {"task": "qa", "route": "vanilla", "profile": "vanilla", "k": 0, "alpha": 0.3, "reason": "model"}
    return {side: {"trivia": {**usual, **changed.get(side, {})}} for side in SIDES}


def test_services_that_agree_agree() -> None:
    """With one another and with the report."""
    (row,) = compared(REPORT, decided())
    assert (row["same_route"], row["same_k"], row["as_reported"]) == (True, True, True)
    assert (row["domain"], row["reported"]) == ("trivia", "vanilla")


def test_what_differs_is_told_apart() -> None:
    """Another k of the same route is less than another route; the report's word counts for its own policy."""
    drafts = {"route": "speculative", "profile": "ngram", "k": 2}
    (row,) = compared(REPORT, decided(warmed=drafts, fresh={**drafts, "k": 4}))
    assert (row["same_route"], row["same_k"]) == (True, False)
    (row,) = compared(REPORT, decided(fresh=drafts))
    assert not row["same_route"]
    (row,) = compared(REPORT, decided(fresh={"profile": "ngram"}))
    assert row["same_route"]
    (row,) = compared(REPORT, decided(recommended=drafts))
    assert (row["same_route"], row["as_reported"]) == (True, False)
    (row,) = compared(REPORT, decided(recommended={**drafts, "task": "new"}))
    assert row["as_reported"]


def test_one_prompt_of_every_domain_is_kept_from_the_calibration(tmp_path: Path) -> None:
    """The last, in every form that calibrate reads."""
    file = tmp_path / "prompts.jsonl"
    lines = [
        '{"category": "a", "turns": ["one", "two"]}',
        '{"category": "a", "turns": ["three"]}',
        '{"domain": "b", "task": "qa", "prompt": "four"}',
        '{"domain": "b", "task": "c", "messages": [{"role": "user", "content": "five"}]}',
    ]
    file.write_text("\n".join(lines), encoding="utf-8")
    assert parted(file) == ([f"{lines[0]}\n", f"{lines[2]}\n"], {"a": "three", "b": "five"})


def test_a_domain_of_one_prompt_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There would be nothing to calibrate it with."""
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"domain": "b", "prompt": "four"}', encoding="utf-8")
    assert main([str(file), "--out", str(tmp_path)]) == 2
    assert "domain 'b' has one prompt" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{}", "[]", "x"])
def test_other_files_are_bad_input(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, code 2."""
    file = tmp_path / "prompts.jsonl"
    file.write_text(text, encoding="utf-8")
    assert main([str(file), "--out", str(tmp_path)]) == 2
    assert "not prompts with domains" in capsys.readouterr().err
