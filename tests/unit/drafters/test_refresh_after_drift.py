"""The show of a refresh, on a tiny target: it runs through, and its figures say who won."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.refresh_after_drift import main
from drafters.reading import ReadSettings, chosen, read_answers
from drafters.target import Target
from drafters.tokenizing import target_tokens
from tests.unit.drafters.tiny_traffic import captured, write_letters_target

pytestmark = pytest.mark.unit


def test_both_styles_are_learned_measured_and_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The stale drafter never takes the refreshed one's place; the exit code says what was shown."""
    model = write_letters_target(tmp_path / "model")
    rows = captured(model, 200)
    tasks = [replace(row, task="code" if number < 20 else "chat") for number, row in enumerate(rows)]
    limits = ReadSettings(10_000, 64, 16)
    parts = chosen(tasks, target_tokens(model), limits)
    for asked in (parts.learned, parts.measured):
        read_answers(
            tmp_path / "answers", model, Target.load(model), asked, settings=limits, say=lambda _: None
        )
    given = ["--model", str(model), "--out", str(tmp_path / "out"), "--json", str(tmp_path / "found.json")]
    few = ["--epochs", "1", "--refresh-epochs", "1", "--draft-vocabulary", "64", "--intermediate", "40"]
    code = main([str(tmp_path / "answers"), *given, *few, "--measure-steps", "1", "--threads", "1"])
    found = json.loads((tmp_path / "found.json").read_text("utf-8"))
    assert json.loads(capsys.readouterr().out) == found
    assert found["native"]["answers"] == found["refresh"]["answers"]
    again = [str(tmp_path / "answers"), *given, *few, "--measure-steps", "1", "--threads", "1"]
    assert main([*again, "--native-epochs", "0"]) == code
    skipped = json.loads(capsys.readouterr().out)
    assert (skipped["native"], skipped["restored_share"]) == (None, None)
    assert skipped["refresh"] == found["refresh"]
    assert found["refresh"]["families"] >= 20
    assert found["refresh"]["length"]["gain"] == pytest.approx(-found["worse"]["length"]["gain"])
    assert code == (0 if found["promoted"] and not found["worse_promoted"] else 1)
    assert not (found["promoted"] and found["worse_promoted"])


def test_answers_that_are_not_there_are_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, code 2."""
    model = write_letters_target(tmp_path / "model")
    given = [str(tmp_path), "--model", str(model), "--out", str(tmp_path / "out"), "--threads", "1"]
    assert main(given) == 2
    assert "no answers of the tasks code, sql, structured, extraction" in capsys.readouterr().err
