"""One finished answer as a line of a capture file, read out of the client's bytes when it is over."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import regex

FORMAT: Final = "specroute-captured/1"
REDACTED: Final = "[redacted]"

_COMPLETE: Final = frozenset({"stop", "length"})
_ROLES: Final = frozenset({"system", "user", "assistant"})
_ODD: Final = (
    "tools",
    "functions",
    "structured_outputs",
    "chat_template",
    "chat_template_kwargs",
    "continue_final_message",
    "logit_bias",
    "use_beam_search",
    "documents",
)
"""With these, the target reads more than the messages, or may not say what it would."""
_PATIENCE_S: Final = 1.0


class Taken(NamedTuple):
    """A request that is over, and the bytes its client got."""

    fields: Mapping[str, Any]
    task: str
    body: bytes
    at_s: float


class Redaction:
    """Replaces what some regular expressions match; each has a second for a text."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = [regex.compile(pattern) for pattern in patterns]

    def __call__(self, text: str) -> str:
        """The text without what matched.

        Raises:
            TimeoutError: An expression goes on and on over it.
        """
        for pattern in self._patterns:
            # Others have the interpreter meanwhile.
            text = pattern.sub(REDACTED, text, concurrent=True, timeout=_PATIENCE_S)
        return text


def is_plain(fields: Mapping[str, Any]) -> bool:
    """Whether a chat request is text in, text out: all the target reads is its messages."""
    form = fields.get("response_format")
    return (
        not any(fields.get(name) for name in _ODD)
        and fields.get("n") in {None, 1}
        and fields.get("add_generation_prompt") is not False
        and (form is None or (isinstance(form, dict) and form.get("type") == "text"))
    )


def captured_row(taken: Taken, redaction: Redaction) -> str | None:
    """The line of a complete answer; None where something but text was said, or the answer was cut off.

    Raises:
        TimeoutError: A regular expression takes too long.
    """
    messages = _messages(taken.fields.get("messages"))
    answer = _answer(taken.body)
    if messages is None or not answer:
        return None
    clean = [{"role": turn["role"], "content": redaction(turn["content"])} for turn in messages]
    said = redaction(answer)
    temperature = taken.fields.get("temperature")
    is_number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    return json.dumps(
        {
            "format": FORMAT,
            "at": taken.at_s,
            "task": taken.task,
            "messages": clean,
            "answer": said,
            "temperature": temperature if is_number else None,
            "redacted": clean != messages or said != answer,
        },
        separators=(",", ":"),
    )


def _messages(given: object) -> list[dict[str, str]] | None:
    if not isinstance(given, list) or not given:
        return None
    found = []
    for turn in given:
        if not isinstance(turn, dict) or turn.get("role") not in _ROLES or turn.get("tool_calls"):
            return None
        text = _text(turn.get("content"))
        if text is None:
            return None
        found.append({"role": turn["role"], "content": text})
    return found


def _text(content: object) -> str | None:
    """The text of a message; vLLM joins several parts with line ends."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        return None
    parts = [
        part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
        for part in content
    ]
    if not all(isinstance(part, str) for part in parts):
        return None
    return "\n".join(str(part) for part in parts)


def _answer(body: bytes) -> str | None:
    """The text of the one choice, if it came to its end."""
    said: list[str] = []
    finished = False
    for document in _documents(body):
        if "error" in document:
            return None
        for choice in document.get("choices") or ():
            message = choice.get("delta") or choice.get("message") or {}
            if any(message.get(name) for name in ("tool_calls", "reasoning", "reasoning_content", "refusal")):
                return None
            said.append(message.get("content") or "")
            finished = finished or choice.get("finish_reason") in _COMPLETE
    return "".join(said) if finished else None


def _documents(body: bytes) -> Iterator[dict[str, Any]]:
    if not body.startswith(b"data:"):
        yield json.loads(body)
        return
    for line in body.split(b"\n"):
        data = line.removeprefix(b"data:").strip()
        if line.startswith(b"data:") and data != b"[DONE]":
            yield json.loads(data)
