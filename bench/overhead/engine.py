"""An engine that pretends: OpenAI's streamed chat completions, one small event per step of constant time.

    python -m bench.overhead.engine --port 9000 --step-ms 5

The stream of `max_tokens` events has the form and the pace of specroute's own fake engine: the first event
after one step, every further one a step later, and the last together with the end. Steps keep to their times
whoever reads: the pace does not wait for a reader.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import aclosing
from typing import Any, Final

import uvicorn

MODEL: Final = "smollm2-135m-instruct"
"""The name under which every side knows the model: that of specroute's embedded one."""
PATH: Final = "/v1/chat/completions"

_HEAD: Final = {"id": "chatcmpl-0", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
_WORDS: Final = (" the", " answer", " goes", " on", " and", " ends")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Answer = Callable[[bytes], AsyncGenerator[bytes, None]]


async def answer(body: bytes, step_s: float) -> AsyncGenerator[bytes, None]:
    """The events of one answer to the request `body`: the n-th n times `step_s` seconds after the call.

    What is handed on late does not delay the next one: a real engine is a process of its own.
    """
    began_s = time.monotonic()
    wanted = int(json.loads(body)["max_tokens"])
    for number in range(wanted):
        if (left_s := began_s + (number + 1) * step_s - time.monotonic()) > 0:
            await asyncio.sleep(left_s)
        data = _event({"content": _WORDS[number % len(_WORDS)]})
        if number == 0:
            data = _event({"role": "assistant", "content": ""}) + data
        if number == wanted - 1:
            data += _event({}, "length") + b"data: [DONE]\n\n"
        yield data


def _event(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({**_HEAD, "choices": [choice]}).encode() + b"\n\n"


class App:
    """The ASGI application of an engine, or of a router that adds nothing: streams what `answer` yields."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Stream an answer to a POST; any GET is told that all is well."""
        if scope["type"] == "lifespan":
            while (kind := (await receive())["type"]) != "lifespan.shutdown":
                await send({"type": f"{kind}.complete"})
            await send({"type": f"{kind}.complete"})
            return
        posted = scope["method"] == "POST"
        content = b"text/event-stream" if posted else b"application/json"
        body = await _whole(receive)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", content)]})
        if posted:
            async with aclosing(self._answer(body)) as events:
                async for event in events:
                    await send({"type": "http.response.body", "body": event, "more_body": True})
        listed = {"object": "list", "data": [{"id": MODEL, "object": "model"}]}
        await send({"type": "http.response.body", "body": b"" if posted else json.dumps(listed).encode()})


async def _whole(receive: Receive) -> bytes:
    body = bytearray()
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


def step_options(description: str) -> argparse.Namespace:
    """What the programs of this bench that answer are told on their command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--step-ms", type=float, required=True)
    return parser.parse_args()


def main() -> int:
    """Answer until a signal comes."""
    options = step_options(__doc__.splitlines()[0])
    app = App(lambda body: answer(body, options.step_ms / 1000))
    uvicorn.run(
        app, host="127.0.0.1", port=options.port, log_level="error", access_log=False, timeout_keep_alive=3600
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
