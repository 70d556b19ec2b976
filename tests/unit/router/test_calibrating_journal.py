"""The journal of a calibration: what was measured is found again, whatever ended the run."""

import errno
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from policies.calibrating import Measured, PoolFacts, Side
from router.calibrating.journal import Begun, Journal, JournalError, UnusableJournalError

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


BEGUN = Begun(3, (PoolFacts("vanilla", "none", 0, 1, 8), PoolFacts("ngram", "ngram", 8, 2, 8)))


def begun(path: Path, fingerprint: str = "f", **options: Any) -> Journal:
    journal = Journal(path, fingerprint, **options)
    journal.begin(BEGUN)
    return journal


def full(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


class FullFile(io.BytesIO):
    """Takes some bytes; then there is no space."""

    def writelines(self, *_: Any) -> None:
        """Always fails."""
        full()


def test_what_was_kept_is_there_again(tmp_path: Path) -> None:
    """What was settled, answers by block, and step times."""
    path = tmp_path / "new" / "journal.jsonl"
    journal = begun(path)
    odd = replace(ANSWER, prompt="a\u2028b\u0085ü")
    journal.add(3, [ANSWER, odd])
    journal.add_cost({"profiles": {}})
    again = Journal(path, "f")
    assert again.begun == BEGUN
    assert again.done == {3: [ANSWER, odd]}
    assert again.costs == [{"profiles": {}}]
    again.begin(Begun(9, ()))
    assert Journal(path, "f").begun == BEGUN
    assert {file.name for file in path.parent.iterdir()} == {"journal.jsonl"}


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_an_end_that_was_cut_short_is_left_out(tmp_path: Path, cut: int) -> None:
    """What stands before it counts, and what is added behind it is whole; in the middle of a letter, too."""
    path = tmp_path / "journal.jsonl"
    journal = begun(path)
    journal.add(0, [ANSWER])
    journal.add(1, [replace(ANSWER, domain="ü" * 150)])
    path.write_bytes(path.read_bytes()[:-cut])
    again = begun(path)
    assert again.done == {0: [ANSWER]}
    again.add(1, [ANSWER])
    assert Journal(path, "f").done == {0: [ANSWER], 1: [ANSWER]}


def test_a_head_without_its_line_feed_is_a_head(tmp_path: Path) -> None:
    """It is written again with one."""
    path = tmp_path / "journal.jsonl"
    begun(path)
    path.write_bytes(path.read_bytes()[:-1])
    begun(path).add(0, [ANSWER])
    assert set(Journal(path, "f").done) == {0}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "say --fresh to begin anew"),
        (b"not a journal\n", ":1: not JSON: is it a calibration's?"),
        (b"not a journal", ":1: not JSON: is it a calibration's?"),
        (b"\xff\xfe\n", ":1: not UTF-8: is it a calibration's?"),
        (b"[]\n", ":1: no entry of a calibration's journal: is it"),
        (b'{"format": "x", "fingerprint": "f"}\n', "name another --output, or say --fresh"),
    ],
)
def test_another_calibrations_journal_is_refused(tmp_path: Path, content: bytes | None, told: str) -> None:
    """In one line, and stays as it is; a fresh start forgets it."""
    path = tmp_path / "journal.jsonl"
    if content is None:
        begun(path, "other").add(0, [ANSWER])
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(UnusableJournalError) as caught:
        Journal(path, "f")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert begun(path, fresh=True).done == {}
    assert Journal(path, "f").begun == BEGUN


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"\xff", "not UTF-8"),
        (b"{", "not JSON"),
        (b"[" * 9999, "not JSON"),
        (b"7", "no entry"),
        (b'{"block": 1}', "no entry"),
    ],
)
def test_a_damaged_line_is_told_with_its_number(tmp_path: Path, line: bytes, told: str) -> None:
    """What stands behind it is not thrown away in silence."""
    path = tmp_path / "journal.jsonl"
    begun(path).add(0, [ANSWER])
    whole = path.read_bytes()
    path.write_bytes(
        whole + line + b"\n" + whole.split(b"\n")[1].replace(b'"block": 0', b'"block": 2') + b"\n"
    )
    with pytest.raises(UnusableJournalError, match=rf":3: {told}.*: delete this line to measure it again"):
        Journal(path, "f")
    path.write_bytes(path.read_bytes().replace(b"\n" + line + b"\n", b"\n"))
    assert set(Journal(path, "f").done) == {0, 2}


@pytest.mark.parametrize("where", ["open", "write", "replace"])
def test_a_full_disk_loses_nothing_that_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Not even where the end had been cut short and the file is written anew: it is replaced or stays."""
    path = tmp_path / "journal.jsonl"
    begun(path).add(0, [ANSWER])
    path.write_bytes(path.read_bytes() + b'{"block": 1, "ans')
    before = path.read_bytes()
    journal = Journal(path, "f")
    with monkeypatch.context() as patched:
        replaced = {"open": full, "write": lambda *_: FullFile(), "replace": full}[where]
        patched.setattr(Path, "replace" if where == "replace" else "open", replaced)
        with pytest.raises(JournalError, match=r"No space left on device; 1 finished .* are kept"):
            journal.begin(BEGUN)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["journal.jsonl"]
    assert set(begun(path).done) == {0}


def test_no_space_for_a_block_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With how much is kept and what to do; the file before it stays readable."""
    journal = begun(tmp_path / "journal.jsonl")
    journal.add(0, [ANSWER])
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
        begun(tmp_path / "file" / "journal.jsonl")
    (tmp_path / "folder").mkdir()
    with pytest.raises(JournalError, match="name another --output"):
        Journal(tmp_path / "folder", "f")
