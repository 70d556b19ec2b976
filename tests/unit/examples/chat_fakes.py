"""A specroute that answers as it is told, and a browser that reads as slowly as a test wants, for the chat backend."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import httpx2
import openai
from chat_backend.settings import Settings
from starlette.types import ASGIApp, Message

Part = bytes | asyncio.Event | Exception
"""Of a stream: bytes, waiting for a test's event, or an end of the connection."""
KEY = "sk-specroute-secret-of-the-tenant"


def chunk(**fields: Any) -> bytes:
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []} | fields
    return f"data: {json.dumps(body)}\n\n".encode()


def text(content: str) -> bytes:
    """An event that brings so much of an answer."""
    return chunk(choices=[{"index": 0, "delta": {"content": content}, "finish_reason": None}])


def end(reason: str = "stop", **details: Any) -> bytes:
    """The end of a stream, as specroute writes it."""
    finish = chunk(choices=[{"index": 0, "delta": {}, "finish_reason": reason}])
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return finish + chunk(usage=usage, specroute=details) + b"data: [DONE]\n\n"


def error_event(code: int) -> bytes:
    """What specroute ends a stream with that failed."""
    error = {"message": "the engine's inside", "type": "x", "param": None, "code": code}
    return f"data: {json.dumps({'error': error})}\n\ndata: [DONE]\n\n".encode()


def says(*texts: str, **details: Any) -> list[Part]:
    """A whole answer."""
    return [*map(text, texts), end(**details)]


def refuses(status: int, retry_after: str | None = None) -> httpx2.Response:
    """An answer that is an error."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return httpx2.Response(status, headers=headers, json={"error": {"message": "the inside", "code": status}})


class FakeSpecroute(httpx2.AsyncBaseTransport):
    """Answers the requests in turn, and notes what they were and which streams were closed."""

    def __init__(self, *answers: Sequence[Part] | httpx2.Response | Exception) -> None:
        self.answers = list(answers)
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.closed = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.bodies.append(json.loads(await request.aread()))
        self.headers.append(request.headers)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx2.Response):
            return answer
        headers = {
            "Content-Type": "text/event-stream",
            "X-Specroute-Route": "speculative",
            "X-Specroute-K": "4",
        }
        return httpx2.Response(200, headers=headers, stream=_Stream(self, answer))

    @property
    def conversations(self) -> list[list[str]]:
        """The messages of each request, without the system's."""
        return [[message["content"] for message in body["messages"][1:]] for body in self.bodies]

    def client(self, settings: Settings) -> openai.AsyncOpenAI:
        """OpenAI's client, connected to it."""
        return openai.AsyncOpenAI(
            base_url=settings.specroute_url,
            api_key=KEY,
            max_retries=0,
            http_client=httpx2.AsyncClient(transport=self),
        )


class _Stream(httpx2.AsyncByteStream):
    def __init__(self, fake: FakeSpecroute, parts: Iterable[Part]) -> None:
        self._fake = fake
        self._parts = parts

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            if isinstance(part, Exception):
                raise part
            if isinstance(part, asyncio.Event):
                await part.wait()
            else:
                yield part

    async def aclose(self) -> None:
        self._fake.closed += 1


class Reading:
    """A POST whose answer is read event by event; leaving the block is closing the browser."""

    def __init__(self, app: ASGIApp, path: str, body: dict[str, Any], cookie: str) -> None:
        content = json.dumps(body).encode()
        headers = {
            "host": "chat.test",
            "content-type": "application/json",
            "content-length": str(len(content)),
            "cookie": cookie,
        }
        self._scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
            "method": "POST", "scheme": "https", "path": path, "raw_path": path.encode(), "query_string": b"",
            "root_path": "", "server": ("chat.test", 443), "client": ("192.0.2.1", 1),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }  # fmt: skip
        self._app = app
        self._requests: asyncio.Queue[Message] = asyncio.Queue()
        self._requests.put_nowait({"type": "http.request", "body": content, "more_body": False})
        self._sent: asyncio.Queue[Message] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._app(self._scope, self._requests.get, self._sent.put))  # type: ignore[arg-type]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._requests.put_nowait({"type": "http.disconnect"})
        with suppress(asyncio.CancelledError):
            await self._task

    async def events(self) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Kind and data of each event."""
        while True:
            message = await self._sent.get()
            if message["type"] == "http.response.start":
                assert message["status"] == 200
                continue
            for found in parsed(message["body"].decode()):
                yield found
            if not message.get("more_body"):
                return

    async def next(self) -> tuple[str, dict[str, Any]]:
        """The next event."""
        async for event in self.events():
            return event
        raise AssertionError("the stream has ended")


def parsed(stream: str) -> list[tuple[str, dict[str, Any]]]:
    """Server-sent events, comments left out."""
    found = []
    for block in stream.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found
