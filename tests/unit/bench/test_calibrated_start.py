"""What a calibrated start compares, without services."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import calibrated_start
from bench.calibrated_start import SIDES, compared, main, parted, used
from bench.results import BenchError

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
    assert not row["close"]
    (row,) = compared(REPORT, decided(recommended={**drafts, "task": "new"}))
    assert row["as_reported"]


def test_a_route_that_the_report_calls_close_is_told() -> None:
    """It counts as another one all the same."""
    close = {"policy": {"expected": [{**REPORT["policy"]["expected"][0], "close": True}]}}
    (row,) = compared(close, decided(recommended={"route": "speculative", "profile": "ngram", "k": 2}))
    assert (row["as_reported"], row["close"]) == (False, True)


def test_where_warmed_services_differ_a_fresh_one_cannot_be_like_both() -> None:
    """It is told, and is no difference of the fresh one's."""
    drafts = {"route": "speculative", "profile": "ngram", "k": 2}
    (row,) = compared(REPORT, decided(again=drafts))
    assert (row["same_route"], row["warmed_differ"]) == (True, True)
    (row,) = compared(REPORT, decided(again=drafts, warmed=drafts))
    assert (row["same_route"], row["warmed_differ"]) == (False, False)


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


def test_the_warmed_service_answers_what_the_calibration_asked(tmp_path: Path) -> None:
    """Each prompt once, however often it was asked; prompts without an id go by their line."""
    prompts, journal = tmp_path / "prompts.jsonl", tmp_path / "journal.jsonl"
    rows = ['{"id": "x", "prompt": "one"}', '{"prompt": "two"}', '{"id": "y", "prompt": "three"}']
    prompts.write_text("\n".join(rows), encoding="utf-8")
    blocks = [
        {"format": "v2"},
        {"answers": [{"prompt": "x"}, {"prompt": "x"}]},
        {"answers": [{"prompt": "line-2"}]},
    ]
    journal.write_text("\n".join(map(json.dumps, blocks)), encoding="utf-8")
    assert used(prompts, journal) == ["one", "two"]


def test_a_run_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Services that decided are not started again; one that fails is."""
    started: list[str] = []

    class Service:
        url = "http://service"

        def __init__(self, folder: Path, args: object, policy: object) -> None:
            self.name = folder.name

        def start(self) -> None:
            started.append(self.name)
            if self.name == "fresh" and started.count("fresh") == 1:
                raise BenchError("no memory")

        def wait_until_ready(self) -> None: ...
        def wait_until_rehearsed(self) -> None: ...
        def end(self) -> None: ...

    def calibrated(prompts: Path, url: str, output: Path, budget: float) -> None:
        output.mkdir()
        (output / "journal.jsonl").write_text('{"answers": [{"prompt": "line-1"}]}', "utf-8")
        (output / "policy.yaml").write_text("{}", "utf-8")
        (output / "results.json").write_text(json.dumps(REPORT), "utf-8")

    monkeypatch.setattr(calibrated_start, "Serving", Service)
    monkeypatch.setattr(calibrated_start, "calibrated", calibrated)
    monkeypatch.setattr(calibrated_start, "warmed", lambda _, texts: started.append(*texts))
    monkeypatch.setattr(calibrated_start, "decisions", lambda *_: decided()["warmed"])
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"domain": "trivia", "prompt": "one"}\n{"domain": "trivia", "prompt": "two"}', "utf-8")
    assert main([str(file), "--out", str(tmp_path / "out")]) == 2
    assert main([str(file), "--out", str(tmp_path / "out")]) == 0
    assert started == ["measured", "warmed", "one", "again", "one", "fresh", "fresh", "recommended"]


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
