"""The shape of the fake engine's answers: OpenAI's, chat or text, streamed or whole."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from replicas.fake_words import text_of
from replicas.frames import Call, Ending, Frame


class FakeForm:
    """Puts the words of one answer into frames."""

    def __init__(self, call: Call, body: Mapping[str, Any], model: str, prompt: bytes) -> None:
        self._chat = call.path.endswith("/chat/completions")
        self._details = call.details
        self.stream = body.get("stream") is True
        options = body.get("stream_options")
        self._usage = call.details or (isinstance(options, dict) and options.get("include_usage") is True)
        self._prompt = prompt
        kind = "chat.completion" if self._chat else "text_completion"
        head = {
            "id": f"{'chatcmpl' if self._chat else 'cmpl'}-{call.request_id}",
            "object": kind + (".chunk" if self._chat and self.stream else ""),
            "created": int(time.time()),
            "model": model,
        }
        self._begun = call.resume is not None
        self._head = call.resume.head if call.resume else json.dumps(head).encode()[:-1] + b", "

    def event(self, ids: Sequence[int], finish: str | None = None) -> bytes:
        """An event with the words of some tokens."""
        text = text_of(ids)
        part = {"delta": {"content": text}} if self._chat else {"text": text}
        return self._event({"choices": [{"index": 0, **part, "finish_reason": finish}]})

    def first_frame(self, ids: Sequence[int]) -> Frame:
        """The frame a stream begins with, or goes on with where it broke off elsewhere."""
        opening = b""
        if self._chat and not self._begun:
            role = {"delta": {"role": "assistant", "content": ""}}
            opening = self._event({"choices": [{"index": 0, **role, "finish_reason": None}]})
        return Frame(
            opening + self.event(ids),
            token_ids=tuple(ids),
            status=200,
            content_type="text/event-stream",
            prompt_token_ids=self._prompt,
            head=self._head,
        )

    def last_frame(self, ids: Sequence[int], ending: Ending) -> Frame:
        """The end of a stream, or the whole answer."""
        usage = {
            "prompt_tokens": ending.prompt_tokens,
            "completion_tokens": ending.completion_tokens,
            "total_tokens": ending.prompt_tokens + ending.completion_tokens,
        }
        if not self.stream:
            text = text_of(ids)
            part = {"message": {"role": "assistant", "content": text}} if self._chat else {"text": text}
            choice = {"index": 0, **part, "finish_reason": ending.finish_reason}
            data = self._object({"choices": [choice], "usage": usage})
            splice = len(data) - 1 if self._details else None
            return Frame(
                data, tuple(ids), 200, "application/json", splice, ending, prompt_token_ids=self._prompt
            )
        data = self.event([], ending.finish_reason)
        splice = None
        if self._usage:
            data += self._event({"choices": [], "usage": usage})
            splice = len(data) - 3 if self._details else None
        return Frame(data + b"data: [DONE]\n\n", splice_at=splice, ending=ending)

    def _object(self, members: Mapping[str, Any]) -> bytes:
        return self._head + json.dumps(members).encode()[1:]

    def _event(self, members: Mapping[str, Any]) -> bytes:
        return b"data: " + self._object(members) + b"\n\n"
