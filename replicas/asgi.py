"""One HTTP exchange with an ASGI app in the same process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextvars import Context
from typing import Any, NamedTuple

from replicas.frames import Headers

Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

_LET_GO_S = 5.0


class AppError(Exception):
    """The app ended without completing its response."""


class Part(NamedTuple):
    """Body bytes that were ready together."""

    data: bytes
    first: bool
    last: bool


class AsgiExchange:
    """Posts a JSON body to `app` (or gets, without one) and yields the response as it comes.

    `headers` go with it, beside the usual ones.

    `status` and `content_type` are known once the first part is. The app runs in a task of its own, in
    `context` or else a copy of the reader's. Parts that are ready together come together: the reader decides
    the pace.

    Whoever knows what the bytes stand for may set `holding` and call `mark` where a piece of the answer is
    complete: then parts end at marks, but for the last one.
    """

    def __init__(
        self,
        app: AsgiApp,
        *,
        path: str,
        body: bytes,
        request_id: str,
        headers: Headers = (),
        context: Context | None = None,
    ) -> None:
        self.status = 0
        self.content_type = ""
        self._app = app
        self._body = body
        self._context = context
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
                *((name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers),
            ],
            "client": ("127.0.0.1", 0),
            "server": ("127.0.0.1", 80),
            "state": {},
        }
        self._sent_body = False
        self._gone = asyncio.Event()
        self._arrived = asyncio.Event()
        self._chunks: list[bytes] = []
        self._marked = 0
        self.holding = False
        self._complete = False
        self._task: asyncio.Task[None] | None = None

    async def parts(self) -> AsyncGenerator[Part, None]:
        """The response body.

        Raises what the app raises before its response is complete, and AppError when it just ends, or is
        cancelled, before that.
        """
        self._task = asyncio.create_task(self._run(), context=self._context)
        first = True
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            ended = self._complete or self._task.done()
            data = self._take(everything=ended or not self.holding)
            if ended and not self._complete:
                if not self._task.cancelled():
                    self._task.result()  # lets the app's exception out
                raise AppError("the app ended without completing its response")
            if data or ended:
                yield Part(data, first, ended)
                first = False
            if ended:
                return

    def mark(self) -> None:
        """Say that what the app has sent so far may go out."""
        self._marked = len(self._chunks)
        if self._marked:
            self._arrived.set()

    def discard(self) -> bytes:
        """Take back what was not read yet."""
        return self._take(everything=True)

    def _take(self, *, everything: bool) -> bytes:
        ready = len(self._chunks) if everything else self._marked
        data, self._chunks, self._marked = b"".join(self._chunks[:ready]), self._chunks[ready:], 0
        return data

    async def close(self) -> None:
        """Tell the app that its client is gone, and wait until it has let go of the request.

        An app that takes no notice is cancelled. Not at once: FastAPI apps often run handlers in tasks of
        their own, which end with a disconnect but survive the cancellation of the task that waits for them.
        """
        if self._task is None:
            return
        self._gone.set()
        try:
            await asyncio.wait([self._task], timeout=_LET_GO_S)
        finally:
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
