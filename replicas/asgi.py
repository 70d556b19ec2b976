"""One HTTP exchange with an ASGI app in the same process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


class Part(NamedTuple):
    """Body bytes that were ready together."""

    data: bytes
    first: bool
    last: bool


class AsgiExchange:
    """Posts a JSON body to `app` (or gets, without one) and yields the response as it comes.

    `status` and `content_type` are known once the first part is. The app runs in a task of its own, in the
    caller's context. Parts that are ready together come together: the reader decides the pace.
    """

    def __init__(self, app: AsgiApp, *, path: str, body: bytes, request_id: str) -> None:
        self.status = 0
        self.content_type = ""
        self._app = app
        self._body = body
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST" if body else "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"x-request-id", request_id.encode("latin-1", "replace")),
            ],
            "client": ("127.0.0.1", 0),
            "server": ("127.0.0.1", 80),
            "state": {},
        }
        self._sent_body = False
        self._gone = asyncio.Event()
        self._arrived = asyncio.Event()
        self._chunks: list[bytes] = []
        self._complete = False
        self._task: asyncio.Task[None] | None = None

    async def parts(self) -> AsyncIterator[Part]:
        """The response body. Raises what the app raises before its response has begun."""
        self._task = asyncio.create_task(self._run())
        first = True
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            data, self._chunks = b"".join(self._chunks), []
            ended = self._complete or self._task.done()
            if ended and not self._complete:
                await self._task  # the app ended early: let its exception out
            if data or ended:
                yield Part(data, first, ended)
                first = False
            if ended:
                return

    async def close(self) -> None:
        """Tell the app that its client is gone, and wait until it has let go of the request."""
        if self._task is None:
            return
        self._gone.set()
        if not self._complete:
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
        finally:
            self._arrived.set()

    async def _receive(self) -> Message:
        if not self._sent_body:
            self._sent_body = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = {name.lower(): value for name, value in message.get("headers", ())}
            self.content_type = headers.get(b"content-type", b"").decode("latin-1")
            return
        self._chunks.append(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        self._arrived.set()
