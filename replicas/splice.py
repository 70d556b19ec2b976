"""Where the `specroute` object finds its place in an answer, without the router reading the answer."""

from __future__ import annotations

import json

from replicas.asgi import Part

_DONE = b"data: [DONE]"
_SEPARATOR = b"\n\n"


def with_usage_chunk(body: bytes) -> bytes:
    """`body` with `stream_options.include_usage` set when it asks for a stream.

    The details object stands in the stream's usage chunk, so a client that asks for details asks for that
    chunk. Anything that is not a JSON object with `stream: true` is returned as it is, for vLLM to judge.
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

    The place is always in what the last part lets out.

    One event is held back, since only the next one tells whether it was the last. Events end with an empty
    line, which JSON inside them cannot hold; so text that looks like an event inside one is not taken for
    one.
    """

    def __init__(self) -> None:
        self._held = b""

    def feed(self, part: Part, content_type: str) -> tuple[bytes, int | None]:
        """What may go out now, and the offset in it where members can be inserted, if this is the place."""
        data = self._held + part.data
        self._held = b""
        if not content_type.startswith("text/event-stream"):
            if part.last:
                return data, _closing_brace(data, len(data))
            self._held = data
            return b"", None
        done = 0 if data.startswith(_DONE) else data.find(_SEPARATOR + _DONE)
        if part.last:
            return data, _closing_brace(data, done) if done > 0 else None
        if done >= 0:
            self._held = data  # what goes into the place is known with the last part
            return b"", None
        # The last complete event may be the one, with whatever there is of the next.
        end = data.rfind(_SEPARATOR)
        before = data.rfind(_SEPARATOR, 0, end) if end >= 0 else -1
        start = before + len(_SEPARATOR) if before >= 0 else 0
        self._held = data[start:]
        return data[:start], None


def _closing_brace(data: bytes, end: int) -> int | None:
    """Where the JSON object that ends at `end` closes; None where there is no object, or an empty one."""
    position = len(data[:end].rstrip()) - 1
    if position < 0 or data[position : position + 1] != b"}" or data[:position].rstrip()[-1:] in {b"{", b""}:
        return None
    return position
