"""The seam between the service and whatever decides the task of a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class RequestText:
    """The part of a request a classifier may look at; bounded in size whatever the request was.

    Texts are clipped to a head and a tail (see `request_text`), so that classification costs the same for a
    prompt of ten thousand characters and of ten million.

    Attributes:
        last_turn: The last user turn, or the prompt of a plain completion; empty for token ids.
        system_prompt: The system and developer messages that open the conversation.
        earlier_turns: The end of what was said before the last user turn, either side.
        user_turns: User turns of the conversation; 1 for a plain completion. Counted over the newest messages
            only, so it saturates in very long conversations.
        has_tools: The model may call tools in its answer.
        has_response_schema: The answer must follow a schema, grammar, pattern or list of choices.
    """

    last_turn: str = ""
    system_prompt: str = ""
    earlier_turns: str = ""
    user_turns: int = 0
    has_tools: bool = False
    has_response_schema: bool = False


@dataclass(frozen=True, slots=True)
class Classification:
    """What a classifier made of a request.

    Attributes:
        task: A name of `policies.tasks.TASKS`, or a custom task of the policy.
        confidence: Between 0 and 1; what it estimates is the classifier's to document.
    """

    task: str
    confidence: float


class TaskClassifier(Protocol):
    """Decides the task of a request: pure, total (no text makes it raise) and bounded in time."""

    def classify(self, request: RequestText) -> Classification:
        """The most likely task of the request and the confidence in it."""
        ...
