"""What a service captured (router/capture.py): conversations and the answers the target gave to them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from drafters.errors import DraftError

FORMAT: Final = "specroute-captured/1"
_PATTERN: Final = "captured-*.jsonl"


@dataclass(frozen=True, slots=True)
class Captured:
    """One answer.

    Attributes:
        at: When, in unix seconds.
        task: What the service took it for.
        messages: What was asked, objects of role and content.
        answer: What the target answered.
        temperature: What it was asked with, None where nothing was said.
        redacted: Whether something was cut out of question or answer: then the answer is not what the target
            says to this question, and nothing is measured on it.
    """

    at: float
    task: str
    messages: tuple[dict[str, str], ...]
    answer: str
    temperature: float | None
    redacted: bool

    @property
    def family(self) -> str:
        """Names the conversation: all its turns begin with the same question."""
        first = next((turn for turn in self.messages if turn["role"] == "user"), self.messages[0])
        return _hash([*(turn for turn in self.messages if turn["role"] == "system"), first])

    @property
    def ident(self) -> str:
        """Names the answer."""
        return _hash([*self.messages, self.answer])

    def line(self) -> str:
        """As JSON."""
        fields = {name: getattr(self, name) for name in ("at", "task", "messages", "answer", "temperature")}
        return json.dumps({"format": FORMAT, **fields, "redacted": self.redacted})


@dataclass(frozen=True, slots=True)
class Found:
    """What was read: the answers, the newest first, each once; and how many lines were none."""

    rows: tuple[Captured, ...]
    skipped: int


def read_captured(source: Path) -> Found:
    """The rows of a capture folder, or of one of its files.

    Lines that are no rows are counted, not refused: a full disk may have torn one.

    Raises:
        DraftError: The folder or the file cannot be read, or there is no row in it.
    """
    rows: dict[str, Captured] = {}
    skipped = 0
    try:
        files = sorted(source.glob(_PATTERN)) if source.is_dir() else [source]
        for row in _rows(files):
            if row is None:
                skipped += 1
            else:
                rows[row.ident] = row
    except OSError as error:
        raise DraftError(
            f"{source}: cannot be read ({error}): name the folder of the deployment's capture"
        ) from error
    if not rows:
        said = f"{skipped} lines, none of them a captured answer" if skipped else "no captured answers"
        raise DraftError(f"{source}: {said}: set capture in the deployment file, and wait for traffic")
    return Found(tuple(sorted(rows.values(), key=lambda row: (-row.at, row.ident))), skipped)


def _rows(files: Sequence[Path]) -> Iterator[Captured | None]:
    for file in files:
        with file.open("rb") as lines:
            for line in lines:
                if line.strip():
                    yield _row(line)


def _row(line: bytes) -> Captured | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        return None
    messages, temperature = found.get("messages"), found.get("temperature")
    if not isinstance(messages, list) or not messages or not all(_is_turn(turn) for turn in messages):
        return None
    right = (
        isinstance(found.get("answer"), str)
        and isinstance(found.get("task"), str)
        and isinstance(found.get("at"), int | float)
        and isinstance(temperature, int | float | None)
    )
    if not right:
        return None
    return Captured(
        at=found["at"],
        task=found["task"],
        messages=tuple({"role": turn["role"], "content": turn["content"]} for turn in messages),
        answer=found["answer"],
        temperature=temperature,
        redacted=bool(found.get("redacted")),
    )


def _is_turn(turn: object) -> bool:
    return isinstance(turn, dict) and all(isinstance(turn.get(key), str) for key in ("role", "content"))


def _hash(values: Sequence[Any]) -> str:
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
