"""The journal of a calibration: what was measured is found again, whatever ended the run."""

import errno
from pathlib import Path
from typing import Any

import pytest

from policies.calibrating import Measured, Side
from router.calibrating.journal import Journal, JournalError

pytestmark = pytest.mark.unit

ANSWER = Measured(
    prompt="p",
    domain="d",
    side=Side("ngram", 4, 0.0, 1.0, 1),
    task="code",
    tenant="anonymous",
    profile="ngram",
    k=4,
    prompt_tokens=9,
    tokens=4,
    decode_s=0.5,
    ttft_s=0.1,
    drafted=(4, 4),
    accepted=(1, 0),
    replays={"ngram": {"requests": 1.0}},
)


def test_what_was_kept_is_there_again(tmp_path: Path) -> None:
    """Answers by block, and step times."""
    journal = Journal(tmp_path / "new" / "journal.jsonl", "f")
    journal.add(3, [ANSWER, ANSWER])
    journal.add_cost({"profiles": {}})
    again = Journal(tmp_path / "new" / "journal.jsonl", "f")
    assert again.done == {3: [ANSWER, ANSWER]}
    assert again.costs == [{"profiles": {}}]


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_an_end_that_was_cut_short_is_left_out(tmp_path: Path, cut: int) -> None:
    """What stands before it counts, and what is added behind it is whole."""
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, "f")
    journal.add(0, [ANSWER])
    journal.add(1, [ANSWER])
    path.write_bytes(path.read_bytes()[:-cut])
    again = Journal(path, "f")
    assert again.done == {0: [ANSWER]}
    again.add(1, [ANSWER])
    assert Journal(path, "f").done == {0: [ANSWER], 1: [ANSWER]}


@pytest.mark.parametrize("content", [None, "not a journal\n", '{"format": "x", "fingerprint": "f"}\n'])
def test_another_calibrations_journal_is_refused(tmp_path: Path, content: str | None) -> None:
    """And stays as it is."""
    path = tmp_path / "journal.jsonl"
    if content is None:
        Journal(path, "other").add(0, [ANSWER])
    else:
        path.write_text(content)
    before = path.read_text()
    with pytest.raises(JournalError, match="say --fresh to begin anew"):
        Journal(path, "f")
    assert path.read_text() == before


def test_no_space_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With how much is kept and what to do; the file before it stays readable."""
    journal = Journal(tmp_path / "journal.jsonl", "f")
    journal.add(0, [ANSWER])

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        with pytest.raises(JournalError) as caught:
            journal.add(1, [ANSWER])
    assert "No space left on device; 1 finished" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert set(Journal(tmp_path / "journal.jsonl", "f").done) == {0}


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    """Before anything is sent."""
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="name another --output"):
        Journal(tmp_path / "file" / "journal.jsonl", "f")
