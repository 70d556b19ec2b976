"""Recognises the next turn of a conversation, whose earlier turns a prefix cache may still hold."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple


class Conversation(NamedTuple):
    """What names the conversation before this turn, and what will name it after; None without turns."""

    before: str | None = None
    after: str | None = None


NO_CONVERSATION = Conversation()


def conversation(tenant: str, fields: Mapping[str, Any]) -> Conversation:
    """The conversation a chat request belongs to.

    Clients send all turns every time. What came before the last answer is, word for word, the request that
    was answered, so its digest finds it; nothing needs an id. Digests are keyed by tenant: nobody's
    conversation is found by another.
    """
    messages = fields.get("messages")
    if not isinstance(messages, list):
        return NO_CONVERSATION
    last_answer = max((i for i, message in enumerate(messages) if _role(message) == "assistant"), default=0)
    digest = blake2b(tenant.encode(), digest_size=16)
    before = None
    for index, message in enumerate(messages):
        if index == last_answer and index > 0:
            before = digest.hexdigest()
        for text in _texts(message):
            digest.update(text.encode("utf-8", "surrogatepass"))
            digest.update(b"\0")
    return Conversation(before, digest.hexdigest())


def _role(message: object) -> object:
    return message.get("role") if isinstance(message, dict) else None


def _texts(message: object) -> list[str]:
    if not isinstance(message, dict):
        return [str(type(message))]
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
    else:
        parts = [content]
    return [str(message.get("role")), *(part for part in parts if isinstance(part, str))]
