"""The sentence of a prompt that asks: beside a long text it decides the task, its topic does not."""

from __future__ import annotations

import re

from router.tasks.features import FIRST_UNSPACED, PIECE_CHARACTERS

COMMAND_CHARACTERS = 160
"""Characters of the sentence that asks."""

_SENTENCE = re.compile(r"[^.!?:\n\u3002\uff01\uff1f\uff1a]+[.!?:\u3002\uff01\uff1f\uff1a]*")
_ASKS = ("?", "\uff1f")
_ANNOUNCES = (":", "\uff1a")
_LABEL_WORDS = 2


def command(text: str) -> str:
    """The sentence of a text that asks for something, as well as marks tell it.

    The last question at either end; without one the first sentence that announces a text (`... :`); without
    that the first sentence, or the last when a long line opens the text and a short one closes it. Labels
    such as `Answer:` are passed over.
    """
    text = text.strip()
    head, tail = text[:PIECE_CHARACTERS], text[PIECE_CHARACTERS:][-PIECE_CHARACTERS:]
    sentences: list[str] = [
        sentence.strip()
        for piece in (head, tail)
        for sentence in _SENTENCE.findall(piece)
        if sentence.count(" ") >= _LABEL_WORDS or max(sentence) >= FIRST_UNSPACED
    ]
    if not sentences:
        return head[:COMMAND_CHARACTERS]
    asking = [sentence for sentence in sentences if sentence.endswith(_ASKS)]
    announcing = [sentence for sentence in sentences if sentence.endswith(_ANNOUNCES)]
    if asking:
        found = asking[-1]
    elif announcing:
        found = announcing[0]
    else:
        at_the_end = bool(tail) and "\n" not in head and "\n" in tail
        found = sentences[-1 if at_the_end else 0]
    return found[:COMMAND_CHARACTERS]
