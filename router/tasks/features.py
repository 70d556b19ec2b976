"""What rules look at, computed once per request: word sequences of the instruction, and its structure.

Words are looked up in sets rather than searched with patterns. That keeps the time linear in the text
whatever the text is, keeps a hundred rules in several languages inside a millisecond, and leaves nothing to
backtrack.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain

from policies.tasks import TASKS
from router.tasks.line_starts import options, speakers
from router.tasks.protocol import RequestText

PIECE_CHARACTERS = 260
"""Characters of the opening and of the closing that count as the instruction."""

SHORT_LINE_CHARACTERS = 200
LONG_LINE_CHARACTERS = 300
TASTE_CHARACTERS = 80
MAX_GRAM = 4
PREFIXES = range(4, 12)
_WORDS_KEPT = 4096
"""Words whose stems are remembered: a megabyte or two."""
FIRST_UNSPACED = "\u0900"
"""From Devanagari upward, scripts whose words no word pattern finds: they are written without spaces, or with
vowel signs that are no letters."""

_TOKEN = re.compile(r"[^\W_]+|[.!?:;\n\u3002\uff01\uff1f\uff1a>]")
_BREAKS = frozenset(".!?:;\n\u3002\uff01\uff1f\uff1a>")
_QUESTION_ENDS = ("?", "\uff1f", '?"', "?)", "?'")
# Said before the verb of a request without changing what is requested.
_POLITE = (
    "please can could would will you kindly help me to just hey hi hello now then also i want need us"
    " let's bitte kannst könntest du mir sie por favor puedes podrías s'il vous te plaît peux tu pouvez"
    " per favore puoi pode você 请 pls plz"
)
_SOFTENERS = frozenset(_POLITE.split())
_LABELS = tuple(name for name in TASKS if name != "other")
_NAMES = "|".join(_LABELS)
# A prompt that names its own label is not evidence: the caller handles hints, and has a header for them.
_SELF_LABEL = re.compile(
    rf"\b(?:task|label|category|class|route|intent)\s{{0,3}}[\"']?\s{{0,3}}[:=]\s{{0,3}}[\"'\[]?(?:{_NAMES})\b"
    rf"|\b(?:classif\w{{1,4}}|label|treat|route|handle|tag|mark|categori[sz]e|count)\s+"
    rf"(?:(?:this|that|it|me|the)\s+)?(?:(?:request|prompt|message|one|task)\s+)?(?:as|to|under)\s+(?:an?\s+)?"
    rf"[\"']?(?:{_NAMES})\b"
)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")

_CODE_LINE = re.compile(
    r"^\s{0,40}(?:def \w|class \w+[(:{]|import \w|from [\w.]+ import|#include|using namespace|public |"
    r"private |function\b|const \w|let \w|var \w|return\b|for ?\(|if ?\(|while ?\(|func \w|fn \w|package \w|"
    r"traceback \(|file \"|\$ |<\w+[ >]|</\w|<!doctype|[}\])];?$|//|@\w+$)",
    re.MULTILINE,
)
_CODE_MARKS = ("```", "();", "){", ") {", "=>", "==", "};", "std::", "self.", "console.", "</", "print(")


@dataclass(frozen=True, slots=True)
class Zone:
    """A piece of text as rules see it.

    Attributes:
        text: Lower-cased.
        pieces: Its words, and the marks that end a phrase, in order.
        grams: Sequences of one to four words; `^word` for the first word of a sentence; `stem*` for every
            beginning of a word.
        unspaced: Holds letters of scripts written without spaces.
    """

    text: str
    pieces: Sequence[str]
    grams: frozenset[str]
    unspaced: bool


def zone(text: str) -> Zone:
    """The zone of a text: linear in its length."""
    lowered = text.lower().replace("\u2019", "'")
    pieces = _TOKEN.findall(lowered)
    return Zone(
        text=lowered,
        pieces=pieces,
        grams=frozenset(_grams(pieces)),
        unspaced=max(lowered, default="") >= FIRST_UNSPACED,
    )


def _grams(pieces: Iterable[str]) -> set[str]:
    grams: set[str] = set()
    every: set[str] = set()
    for words in _sentences(pieces):
        every.update(words)
        sequences = words
        for size in range(1, min(MAX_GRAM, len(words))):
            sequences = [f"{before} {word}" for before, word in zip(sequences, words[size:], strict=False)]
            grams.update(sequences)
        for word in words:
            grams.add("^" + word)
            if word not in _SOFTENERS:
                break
    grams.update(chain.from_iterable(map(_stems, every)))
    return grams | every


@lru_cache(_WORDS_KEPT)
def _stems(word: str) -> tuple[str, ...]:
    """`stem*` for the beginnings of a word."""
    return tuple([word[:length] + "*" for length in PREFIXES if length <= len(word)])


def _sentences(pieces: Iterable[str]) -> Iterator[list[str]]:
    """The words between two marks that end a phrase."""
    words: list[str] = []
    for piece in pieces:
        if piece not in _BREAKS:
            words.append(piece)
        elif words:
            yield words
            words = []
    if words:
        yield words


@dataclass(frozen=True)
class Features:
    """A request as the rules see it. Structure is computed on first use and kept."""

    request: RequestText

    @cached_property
    def turn(self) -> str:
        """The last turn without surrounding space, clipped already."""
        return self.request.last_turn.strip()

    @cached_property
    def lowered(self) -> str:
        """The last turn, lower-cased."""
        return self.turn.lower()

    @cached_property
    def ask(self) -> Zone:
        """The part of the last turn that holds the instruction: its opening and its closing."""
        return zone(without_labels(instruction(self.turn).lower()))

    @cached_property
    def system(self) -> Zone:
        """The instruction in the system prompt."""
        return zone(without_labels(instruction(self.request.system_prompt.strip()).lower()))

    @cached_property
    def earlier(self) -> Zone:
        """The end of the conversation before the last turn."""
        return zone(self.request.earlier_turns[-PIECE_CHARACTERS * 2 :])

    @cached_property
    def words(self) -> frozenset[str]:
        """All words of the last turn."""
        # A short one is all instruction.
        return frozenset(self.ask.pieces if self.ask.text == self.lowered else _TOKEN.findall(self.lowered))

    @cached_property
    def lines(self) -> list[str]:
        """Lines of the last turn that hold something."""
        return [line.strip() for line in self.turn.splitlines() if line.strip()]

    @cached_property
    def asks_question(self) -> bool:
        """The opening or the closing line ends in a question mark."""
        return bool(self.lines) and (
            self.lines[-1].endswith(_QUESTION_ENDS) or self.lines[0].endswith(_QUESTION_ENDS)
        )

    @cached_property
    def numbers(self) -> int:
        """Numbers written in digits."""
        return len(_NUMBER.findall(self.turn[: 2 * PIECE_CHARACTERS]))

    @cached_property
    def code_lines(self) -> int:
        """Lines that read like source code."""
        return len(_CODE_LINE.findall(self.lowered))

    @cached_property
    def holds_code(self) -> bool:
        """Two lines or two marks of source code: prose has one by chance."""
        return self.code_lines > 1 or sum(mark in self.lowered for mark in _CODE_MARKS) > 1

    @cached_property
    def options(self) -> int:
        """Lines that look like the options of a multiple choice."""
        return options(self.turn)

    @cached_property
    def speakers(self) -> int:
        """Lines that begin with the name of a speaker."""
        return speakers(self.turn)

    @cached_property
    def material_characters(self) -> int:
        """Characters of the prompt that are not instruction: a text to be worked on."""
        return max(0, len(self.turn) - len(instruction(self.turn)))


def without_labels(text: str) -> str:
    """A lower-cased text without the places in which it names a task as its own label."""
    # Few texts hold such a name, and the pattern begins at many a word.
    return _SELF_LABEL.sub(" ", text) if any(name in text for name in _LABELS) else text


def instruction(text: str) -> str:
    """The opening and the closing of a text, where people put what they want done.

    Of several lines the first and the last are taken. When one is short and the other is long, the long one
    is the text to be worked on and only a taste of it is kept.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    if len(lines) == 1:
        line = lines[0]
        if len(line) <= 2 * PIECE_CHARACTERS:
            return line
        return f"{line[:PIECE_CHARACTERS]}\n{line[-PIECE_CHARACTERS:]}"
    first, last = lines[0].strip(), lines[-1].strip()
    if len(first) <= TASTE_CHARACTERS and len(lines) > 2:  # noqa: PLR2004 -- a heading alone says little
        first = f"{first}\n{lines[1].strip()}"
    if len(last) <= TASTE_CHARACTERS and len(lines) > 3:  # noqa: PLR2004 -- as above
        last = f"{lines[-2].strip()[-PIECE_CHARACTERS:]}\n{last}"
    head, tail = PIECE_CHARACTERS, PIECE_CHARACTERS
    if len(first) > LONG_LINE_CHARACTERS and len(last) <= SHORT_LINE_CHARACTERS:
        head = TASTE_CHARACTERS
    elif len(last) > LONG_LINE_CHARACTERS and len(first) <= SHORT_LINE_CHARACTERS:
        tail = TASTE_CHARACTERS
    return f"{first[:head]}\n{last[-tail:]}"
