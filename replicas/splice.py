"""Where the `specroute` object finds its place in an answer, without the router reading the answer."""

from __future__ import annotations

import json

from replicas.asgi import Part

_DONE = b"data: [DONE]"


def with_usage_chunk(body: bytes) -> bytes:
    """`body` with `stream_options.include_usage` set when it asks for a stream.

    The details object stands in the stream's usage chunk, so a client that asks for details asks for that chunk.
    Anything that is not a JSON object with `stream: true` is returned as it is, for vLLM to judge.
    """
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        return body
    if not isinstance(request, dict) or request.get("stream") is not True:
        return body
    options = request.get("stream_options")
    if options is not None and not isinstance(options, dict):
        return body
    request["stream_options"] = {**(options or {}), "include_usage": True}
    return json.dumps(request).encode()


class Splicer:
    """Finds the closing brace of the JSON body, or of a stream's last event before `[DONE]`.

    One event is held back, since only the next one tells whether it was the last.
    """

    def __init__(self) -> None:
        self._held = b""

    def feed(self, part: Part, content_type: str) -> tuple[bytes, int | None]:
        """What may go out now, and the offset in it where members can be inserted, if this is the place."""
        if not content_type.startswith("text/event-stream"):
            self._held += part.data
            if not part.last:
                return b"", None
            return self._held, _closing_brace(self._held, len(self._held))
        data = self._held + part.data
        if (done := data.find(_DONE)) >= 0:
            self._held = b""
            return data, _closing_brace(data, done)
        if part.last:
            self._held = b""
            return data, None
        start = data.rfind(b"data: ")
        self._held = data[start:] if start >= 0 else data
        return data[: len(data) - len(self._held)], None


def _closing_brace(data: bytes, end: int) -> int | None:
    position = data.rstrip().rfind(b"}") if end == len(data) else data.rfind(b"}", 0, end)
    return position if position > 0 and data[:position].rstrip()[-1:] not in (b"{", b"") else None
