"""Counts what lines begin with: the options of a choice, the names of speakers.

Each is two patterns, for the start of a text and for what comes later. As one, with either in front, it would
be tried at every character.
"""

from __future__ import annotations

import re

_OPTION = re.compile(r"[ \t]{0,4}(?:\(?[a-n1-9][).]|[a-h][:\uff1a]|-)[ \t]?(?=\S)", re.IGNORECASE)
_LATER_OPTION = re.compile("\n" + _OPTION.pattern, re.IGNORECASE)
_LETTER = re.compile(r"\(?[a-d][).][ \t]", re.IGNORECASE)
_LATER_LETTER = re.compile(r"\s" + _LETTER.pattern, re.IGNORECASE)
_SPEAKER = re.compile(r"[A-Z][\w .]{1,28}: ")
_LATER_SPEAKER = re.compile("\n" + _SPEAKER.pattern)


def options(text: str) -> int:
    """Lines that look like options of a multiple choice, or such letters anywhere where those are more."""
    return max(_count(_OPTION, _LATER_OPTION, text), _count(_LETTER, _LATER_LETTER, text))


def speakers(text: str) -> int:
    """Lines that begin with the name of a speaker."""
    return _count(_SPEAKER, _LATER_SPEAKER, text)


def _count(first: re.Pattern[str], later: re.Pattern[str], text: str) -> int:
    """How often: the one at the start, the other in what follows."""
    opening = first.match(text)
    return (opening is not None) + len(later.findall(text, opening.end() if opening else 0))
