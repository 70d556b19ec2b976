"""Asks for streams over raw connections and notes when they begin and end.

A client library would take more time per event than some of what is measured. Every client keeps its
connection, asks again as soon as it is answered, and looks into an answer only when all of it is there.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from bench.overhead.engine import MODEL, PATH

_LIMIT_S: Final = 120.0
_END: Final = b"\r\n0\r\n\r\n"
_PROMPT: Final = (
    "Request {number}. Write a Python function that merges two sorted lists into one, without a library, "
    "and explain in a few words why it takes linear time. " * 3
)


class AnswerError(Exception):
    """An answer that is not a whole stream of events; it says what came instead."""


class Timed(NamedTuple):
    """One answer: seconds from the request to the first event and to the end, and how many events came."""

    first_s: float
    total_s: float
    events: int


async def ask_all(port: int, *, clients: int, requests: int, chunks: int, number: int) -> list[Timed]:
    """Have `clients` at once ask for at least `requests` streams of `chunks` in all, counted from `number`.

    Raises:
        AnswerError: An answer was none.
        OSError: Nobody listens on `port` of this machine.
    """
    each = -(-requests // clients)
    numbers = [range(number + one * each, number + (one + 1) * each) for one in range(clients)]
    asking = [asyncio.create_task(_client(port, chunks, own)) for own in numbers]
    try:
        answers = await asyncio.gather(*asking)
    finally:  # where one fails, the others must not go on beside what is asked next
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    return [answer for own in answers for answer in own]


async def _client(port: int, chunks: int, numbers: Sequence[int]) -> list[Timed]:
    taken: list[Timed] = []
    connection: _Connection | None = None
    try:
        for number in numbers:
            if connection is None or connection.closed:
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(_Connection, "127.0.0.1", port)
            async with asyncio.timeout(_LIMIT_S):
                taken.append(await connection.ask(_request(port, chunks, number), chunks))
    finally:
        if connection is not None:
            connection.close()
    return taken


def _request(port: int, chunks: int, number: int) -> bytes:
    """A request as it goes over the line. Prompts differ, so that no answer comes from a cache."""
    content = _PROMPT.format(number=number)
    body = json.dumps(
        {
            "model": MODEL,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": chunks,
            "stream": True,
        }
    ).encode()
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self) -> None:
        self.closed = False
        self._transport: asyncio.WriteTransport | None = None
        self._data = bytearray()
        self._first = 0.0
        self._answered: asyncio.Future[float] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101 - of a TCP connection it is
        self._transport = transport

    async def ask(self, request: bytes, chunks: int) -> Timed:
        """Send `request` and time its answer, which must have `chunks` events and the one that ends it."""
        assert self._transport is not None  # noqa: S101 - the loop hands out connections that are made
        self._data.clear()
        self._first = 0.0
        self._answered = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        self._transport.write(request)
        ended = await self._answered
        events = _events(bytes(self._data))
        if events <= chunks:
            raise AnswerError(f"{events} events came where {chunks} chunks and an end were asked for")
        return Timed(self._first - began, ended - began, events)

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self._first and b"data:" in data:
            self._first = time.perf_counter()
        if self._data.endswith(_END):
            self._settle()
        elif not self._first and b"\r\n\r\n" in self._data and b"chunked" not in self._data:
            self._settle(AnswerError(self._data.decode(errors="replace")[:500]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._settle(AnswerError(f"the connection ended within an answer: {exc or 'closed'}"))

    def close(self) -> None:
        """Give the connection up."""
        if self._transport is not None:
            self._transport.close()

    def _settle(self, error: AnswerError | None = None) -> None:
        answered, self._answered = self._answered, None
        if answered is None or answered.done():
            return
        if error is None:
            answered.set_result(time.perf_counter())
        else:
            answered.set_exception(error)


def _events(response: bytes) -> int:
    """How many events a response has that came in HTTP's chunks. Raises AnswerError when it has no end."""
    head, _, body = response.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n", 1)[0] + b" ":
        raise AnswerError(response.decode(errors="replace")[:500])
    text = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        text, body = text + rest[:length], rest[length + 2 :] if length else b""
    if not text.rstrip().endswith(b"data: [DONE]"):
        raise AnswerError(f"a stream without an end: {text.decode(errors='replace')[-300:]}")
    return text.count(b"data: ")
