"""Captured answers: what is read, how they are split, and that one pass sees what answering saw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from drafters.answering import Answering
from drafters.captured import Captured, read_captured
from drafters.corpus import load
from drafters.errors import DraftError
from drafters.reading import Parts, ReadSettings, chosen, read_answers
from drafters.refreshing import places_of
from drafters.target import Target
from drafters.tokenizing import TargetTokens, target_tokens
from tests.unit.drafters.tiny_target import request
from tests.unit.drafters.tiny_traffic import captured, write_letters_target, write_rows

pytestmark = pytest.mark.unit

LIMITS = ReadSettings(tokens=10_000, prompt_tokens=64, answer_tokens=10)
BYTES = TargetTokens(
    encode=lambda messages: [ord(letter) % 250 for turn in messages for letter in turn["content"]],
    text=lambda text: [ord(letter) % 250 for letter in text],
    ends=frozenset(),
)


def row(number: int, *, question: str = "", answer: str = "so it is", redacted: bool = False) -> Captured:
    """A captured answer."""
    asked = {"role": "user", "content": question or f"question {number}"}
    return Captured(float(number), "qa", (asked,), answer, None, redacted)


def test_rows_come_back_newest_first_and_once(tmp_path: Path) -> None:
    """Torn lines and others' files are counted, not refused."""
    folder = write_rows(tmp_path, [row(1), row(3), row(1)])
    (folder / "captured-there-0-000001.jsonl").write_text('{"format": "specroute-cap\n\n[]\n' + row(2).line())
    (folder / "notes.txt").write_text("nothing of ours")
    found = read_captured(folder)
    assert [one.at for one in found.rows] == [3.0, 2.0, 1.0]
    assert found.skipped == 2
    assert found.rows[0] == row(3)


@pytest.mark.parametrize(
    "line",
    [
        '{"format": "specroute-captured/1", "messages": [], "answer": "a", "task": "", "at": 1}',
        '{"format": "specroute-captured/1", "messages": [{"role": "user"}], "answer": "a", "task": "", "at": 1}',
        '{"format": "specroute-captured/2", "messages": [{"role": "user", "content": "a"}], "answer": "a"}',
        "[" * 100_000,
        '"captured"',
    ],
)
def test_a_folder_without_a_row_is_refused(tmp_path: Path, line: str) -> None:
    """It says how to come by some."""
    (tmp_path / "captured-here-0-000001.jsonl").write_text(line)
    with pytest.raises(DraftError, match="1 lines, none of them a captured answer: set capture"):
        read_captured(tmp_path)


def test_an_empty_folder_and_one_that_is_not_there_are_refused(tmp_path: Path) -> None:
    """In one line each."""
    with pytest.raises(DraftError, match="no captured answers: set capture in the deployment file"):
        read_captured(tmp_path)
    with pytest.raises(DraftError, match="cannot be read"):
        read_captured(tmp_path / "none")


@settings(max_examples=40, deadline=None)
@given(
    turns=st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=1, max_size=120),
    tokens=st.integers(1, 2000),
)
def test_no_conversation_is_learned_from_and_measured_on(turns: list[tuple[int, bool]], tokens: int) -> None:
    """Nor is anything measured that was redacted."""
    rows = [
        row(n, question=f"q{asked}", answer=f"answer {n}", redacted=cut)
        for n, (asked, cut) in enumerate(turns)
    ]
    parts = chosen(rows, BYTES, replace(LIMITS, tokens=tokens))
    learned, measured = ({one.family for one in part} for part in (parts.learned, parts.measured))
    assert not learned & measured
    clean = {one.ident for one in rows if not one.redacted}
    assert {one.request.ident for one in parts.measured} <= clean
    held = {one.family for one in parts.learned if one.request.held_out}
    assert not held & {one.family for one in parts.learned if not one.request.held_out}
    assert chosen(rows, BYTES, replace(LIMITS, tokens=tokens)) == parts


@settings(max_examples=40, deadline=None)
@given(
    first=st.sets(st.integers(0, 400), min_size=1),
    second=st.sets(st.integers(0, 400), min_size=1),
    tokens=st.integers(100, 4000),
)
def test_a_later_refresh_measures_on_nothing_that_an_earlier_one_learned_from(
    first: set[int], second: set[int], tokens: int
) -> None:
    """However their captures overlap, whichever has more, and with the sizes of either."""
    earlier, later = (
        chosen([row(n) for n in sorted(numbers)], BYTES, replace(LIMITS, tokens=most))
        for numbers, most in ((first, 10_000), (second, tokens))
    )
    for one, other in ((earlier, later), (later, earlier)):
        assert not {asked.family for asked in one.learned} & {asked.family for asked in other.measured}


def test_about_a_quarter_is_measured_on_and_an_eighth_of_the_rest_held_out() -> None:
    """At most 400 conversations are measured on; what is above that is not learned from either."""
    parts = chosen([row(n) for n in range(1000)], BYTES, replace(LIMITS, tokens=100_000))
    held = sum(one.request.held_out for one in parts.learned)
    assert len(parts.measured) == pytest.approx(250, rel=0.15)
    assert len(parts.learned) + len(parts.measured) == 1000
    assert held == pytest.approx(len(parts.learned) / 8, rel=0.3)
    many = chosen([row(n) for n in range(3000)], BYTES, replace(LIMITS, tokens=100_000))
    assert len(many.measured) == 400
    assert {one.family for one in parts.learned} <= {one.family for one in many.learned}


def test_long_questions_are_left_out_and_long_answers_cut() -> None:
    """Answers of next to nothing teach nothing."""
    rows = [row(1, question="q" * 65), row(2, answer="abc"), row(3, answer="a" * 50)]
    parts = chosen(rows, BYTES, LIMITS)
    assert [(one.request.ident, len(one.answer)) for one in parts.learned] == [(rows[2].ident, 10)]


def test_one_pass_sees_what_answering_saw(tmp_path: Path) -> None:
    """The same states at every position, so a captured answer need not be given again."""
    model = write_letters_target(tmp_path / "model")
    target, tokens = Target.load(model), target_tokens(model)
    rows = captured(model, 6)
    asked = chosen(rows, tokens, LIMITS).learned
    answering = Answering(target, slots=2, prompt_tokens=64, answer_tokens=10, ends=frozenset())
    answers = {
        answer.request.ident: answer
        for answer in answering.run(request(n, tokens=one.request.tokens) for n, one in enumerate(asked))
    }
    found = read_answers(tmp_path / "read", model, target, asked, settings=LIMITS, say=lambda _: None)
    for number, place in enumerate(places_of(found)):
        batch, answer = load([place]), answers[f"r{number}@0"]
        length = min(batch.tokens.shape[1], len(answer.tokens))
        assert batch.tokens[0, :length].tolist() == answer.tokens[:length].tolist()
        torch.testing.assert_close(
            batch.final[0, :length], answer.final[:length].float(), atol=2e-2, rtol=2e-2
        )
        torch.testing.assert_close(batch.aux[0, :length], answer.aux[:length].float(), atol=2e-2, rtol=2e-2)


def test_reading_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Answers that a shard holds are not read again; another target's shards are refused."""
    model = write_letters_target(tmp_path / "model")
    target = Target.load(model)
    parts: Parts = chosen(captured(model, 4), target_tokens(model), LIMITS)
    said: list[str] = []
    for asked in (parts.learned[:2], parts.learned):
        found = read_answers(tmp_path / "read", model, target, asked, settings=LIMITS, say=said.append)
    assert said == ["reading: 2 of 2 captured answers", "reading: 3 of 3 captured answers"]
    assert found.idents == {one.request.ident for one in parts.learned}
    other = write_letters_target(tmp_path / "other", seed=1)
    with pytest.raises(DraftError, match="recorded from another model"):
        read_answers(tmp_path / "read", other, Target.load(other), parts.learned, settings=LIMITS, say=print)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    """A file is where it should be: named, with what to do."""
    model = write_letters_target(tmp_path / "model")
    (tmp_path / "read").write_text("a file")
    with pytest.raises(DraftError, match=r"read: cannot be made \(File exists\): .* run the command again"):
        read_answers(tmp_path / "read", model, Target.load(model), [], settings=LIMITS, say=print)
