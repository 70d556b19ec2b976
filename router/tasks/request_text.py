"""From an OpenAI request body to the text a classifier reads. Total: no body makes it raise.

Checking a body is the engine's business, and its error message is the one the client should see. Whatever has
the wrong type here counts as absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeGuard

from router.tasks.protocol import RequestText

CLIP_CHARACTERS = 1_000
"""Characters read from either end of a long turn."""

EARLIER_CHARACTERS = 400
"""Characters read from the end of each earlier turn."""

EARLIER_MESSAGES = 3
MESSAGES_READ = 64
"""Messages read from either end of a conversation."""

SYSTEM_MESSAGES = 4
"""System messages read: more than one is rare, and thousands are not worth a look at each."""

PARTS_READ = 8
"""Content parts read from either end of a message."""

_SYSTEM_ROLES = frozenset({"system", "developer"})
_SCHEMA_KEYS = (
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
)
_SCHEMA_FORMATS = frozenset({"json_schema", "json_object"})


def request_text(body: object) -> RequestText:
    """The text of a chat-completions or completions body, parsed JSON of any shape.

    A body with `messages` is a chat; otherwise `prompt` (a string, or the strings of a list; token ids have
    no text) stands for the last turn.
    """
    if not isinstance(body, Mapping):
        return RequestText()
    has_tools = _has_tools(body)
    has_schema = _has_response_schema(body)
    messages = body.get("messages")
    if not _is_list(messages):
        prompt = _content_text(body.get("prompt"))
        return RequestText(
            last_turn=prompt,
            user_turns=1 if prompt else 0,
            has_tools=has_tools,
            has_response_schema=has_schema,
        )
    newest = [m for m in messages[-MESSAGES_READ:] if isinstance(m, Mapping)]
    opening = (m for m in messages[:MESSAGES_READ] if isinstance(m, Mapping))
    last = next((i for i in reversed(range(len(newest))) if _role(newest[i]) == "user"), None)
    before = newest[:last] if last is not None else newest
    return RequestText(
        last_turn=_content_text(newest[last].get("content")) if last is not None else "",
        system_prompt=_joined(
            _content_text(m.get("content"))
            for m in islice((m for m in opening if _role(m) in _SYSTEM_ROLES), SYSTEM_MESSAGES)
        ),
        earlier_turns=_joined(
            _content_text(m.get("content"))[-EARLIER_CHARACTERS:]
            for m in [m for m in before if _role(m) in {"user", "assistant"}][-EARLIER_MESSAGES:]
        ),
        user_turns=sum(_role(m) == "user" for m in newest),
        has_tools=has_tools,
        has_response_schema=has_schema,
    )


def clip(text: str) -> str:
    """The text, or its first and last `CLIP_CHARACTERS` when it is longer than both."""
    if len(text) <= 2 * CLIP_CHARACTERS:
        return text
    return f"{text[:CLIP_CHARACTERS]}\n{text[-CLIP_CHARACTERS:]}"


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)


def _role(message: Mapping[str, Any]) -> str:
    role = message.get("role")
    return role if isinstance(role, str) else ""


def _joined(texts: Iterable[str]) -> str:
    return clip("\n".join(text for text in texts if text))


def _content_text(content: object) -> str:
    """The text of a message's content: a string, or the text parts of a list; images and audio have none."""
    if isinstance(content, str):
        return clip(content)
    if not isinstance(content, Sequence) or isinstance(content, bytes | bytearray):
        return ""
    if len(content) <= 2 * PARTS_READ:
        return _joined(_part_texts(content))
    # The newest parts decide, as the newest turn does; a million parts are not worth a look at each.
    ends = (*islice(content, PARTS_READ), *content[-PARTS_READ:])
    return _joined(_part_texts(ends))


def _part_texts(parts: Iterable[object]) -> Iterator[str]:
    for part in parts:
        text = part.get("text") if isinstance(part, Mapping) else part
        if isinstance(text, str):
            yield clip(text)


def _has_tools(body: Mapping[str, Any]) -> bool:
    if body.get("tool_choice") == "none":
        return False
    return any(_is_list(body.get(key)) and bool(body[key]) for key in ("tools", "functions"))


def _has_response_schema(body: Mapping[str, Any]) -> bool:
    if any(body.get(key) for key in _SCHEMA_KEYS):
        return True
    response_format = body.get("response_format")
    kind = response_format.get("type") if isinstance(response_format, Mapping) else None
    return isinstance(kind, str) and kind in _SCHEMA_FORMATS
