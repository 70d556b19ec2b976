"""What was said, and which part of it the model is told again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from openai.types.chat import (
    ChatCompletionAssistantMessageParam,
    ChatCompletionMessageParam,
    ChatCompletionSystemMessageParam,
    ChatCompletionUserMessageParam,
)

TurnState = Literal["complete", "stopped", "broken"]
"""Stopped by its reader, or broken off by an error; in both cases the answer is what was shown."""


@dataclass(frozen=True)
class Turn:
    """A question, and as much of its answer as its reader saw: never nothing."""

    question: str
    answer: str
    state: TurnState = "complete"
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def chars(self) -> int:
        """The length of both."""
        return len(self.question) + len(self.answer)


@dataclass(frozen=True)
class Conversation:
    """The turns so far."""

    id: str
    turns: tuple[Turn, ...] = ()


def remembered(turns: Sequence[Turn], limit_chars: int) -> Sequence[Turn]:
    """The latest turns, of `limit_chars` characters together at most.

    Old turns are left out in blocks of half the limit, not one by one: what is sent then begins with the same
    words for many turns in a row, and only so does specroute recognise the conversation and send it to the
    replica that has its prefix cached.
    """
    excess = sum(turn.chars for turn in turns) - limit_chars
    if excess <= 0:
        return turns
    block = max(1.0, limit_chars / 2)
    left_out = math.ceil(excess / block) * block
    for index, turn in enumerate(turns):
        if left_out <= 0:
            return turns[index:]
        left_out -= turn.chars
    return ()


def messages(system: str, turns: Sequence[Turn], question: str) -> list[ChatCompletionMessageParam]:
    """What the model is asked: all that is remembered, word for word, and the question."""
    asked: list[ChatCompletionMessageParam] = []
    if system:
        asked.append(ChatCompletionSystemMessageParam(role="system", content=system))
    for turn in turns:
        asked.append(ChatCompletionUserMessageParam(role="user", content=turn.question))
        asked.append(ChatCompletionAssistantMessageParam(role="assistant", content=turn.answer))
    asked.append(ChatCompletionUserMessageParam(role="user", content=question))
    return asked
