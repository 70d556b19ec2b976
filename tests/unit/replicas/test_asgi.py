"""The exchange with an app in the same process, on toy Starlette apps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from contextvars import ContextVar, copy_context
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from replicas import asgi
from replicas.asgi import AppError, AsgiExchange, Part

pytestmark = pytest.mark.unit

mark: ContextVar[str] = ContextVar("mark", default="unset")


def app(handler: Any, methods: tuple[str, ...] = ("POST",)) -> Any:
    return Starlette(routes=[Route("/path", handler, methods=list(methods))])


def exchange(target: Any, body: bytes = b"{}", **options: Any) -> AsgiExchange:
    return AsgiExchange(target, path="/path", body=body, request_id="id-1", **options)


async def whole(ours: AsgiExchange) -> list[Part]:
    try:
        return [part async for part in ours.parts()]
    finally:
        await ours.close()


async def test_further_headers_reach_the_app() -> None:
    """The context of a trace, for an app that traces; whatever is in its values, it is sent."""

    async def handler(request: Request) -> Response:
        return JSONResponse([request.headers["traceparent"], request.headers["baggage"]])

    parts = await whole(exchange(app(handler), headers=(("traceparent", "00-ab-cd-01"), ("baggage", "a=é"))))
    assert b"".join(part.data for part in parts) == '["00-ab-cd-01","a=é"]'.encode()


async def test_the_app_gets_the_body_and_the_reader_the_response() -> None:
    """Method, headers and body arrive; status, content type and body come back."""

    async def handler(request: Request) -> Response:
        sent = await request.json()
        headers = request.headers
        return JSONResponse([request.method, headers["x-request-id"], headers["content-length"], sent], 418)

    ours = exchange(app(handler), b'{"a": 1}')
    (part,) = await whole(ours)
    assert part == Part(b'["POST","id-1","8",{"a":1}]', first=True, last=True)
    assert (ours.status, ours.content_type) == (418, "application/json")


async def test_without_a_body_it_is_a_get() -> None:
    """The app sees a GET with an empty body."""

    async def handler(request: Request) -> Response:
        return Response(request.method.encode() + await request.body())

    (part,) = await whole(exchange(app(handler, ("GET",)), b""))
    assert part.data == b"GET"


async def test_a_huge_body_passes_both_ways() -> None:
    """Megabytes are no special case."""
    body = bytes(range(256)) * (1 << 15)

    async def handler(request: Request) -> Response:
        return Response(await request.body())

    parts = await whole(exchange(app(handler), body))
    assert b"".join(part.data for part in parts) == body


async def test_a_stream_arrives_piece_by_piece() -> None:
    """A reader that keeps up gets each piece before the app makes the next."""
    turn = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"one", b"two", b"three"):
            await turn.wait()
            turn.clear()
            yield piece

    async def handler(_: Request) -> Response:
        return StreamingResponse(pieces(), media_type="text/event-stream")

    ours = exchange(app(handler))
    got = []
    turn.set()
    async for part in ours.parts():
        got.append(part)
        turn.set()
    await ours.close()
    assert [part.data for part in got if part.data] == [b"one", b"two", b"three"]
    assert [part.first for part in got] == [True] + [False] * (len(got) - 1)
    assert [part.last for part in got] == [False] * (len(got) - 1) + [True]
    assert ours.content_type == "text/event-stream; charset=utf-8"


async def test_what_is_ready_together_comes_together() -> None:
    """A slow reader gets one part with everything that was made meanwhile."""
    made = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(50):
            yield b"%d," % number
        made.set()

    async def handler(_: Request) -> Response:
        return StreamingResponse(pieces())

    ours = exchange(app(handler))
    async with aclosing(ours.parts()) as parts:
        first = await anext(parts)
        await made.wait()
        rest = [part async for part in parts]
    await ours.close()
    assert len(rest) <= 2
    assert first.data + b"".join(part.data for part in rest) == b"".join(b"%d," % n for n in range(50))


async def test_what_the_app_raises_before_its_response_comes_out() -> None:
    """The reader gets the app's own exception."""

    async def broken(_scope: Any, _receive: Any, _send: Any) -> None:
        raise LookupError("before")

    with pytest.raises(LookupError, match="before"):
        await whole(exchange(broken))


async def test_what_the_app_raises_in_mid_response_comes_out() -> None:
    """A broken stream never looks like a complete one."""

    async def broken(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise LookupError("midway")

    with pytest.raises(LookupError, match="midway"):
        await whole(exchange(broken))


async def test_an_app_that_just_ends_is_an_error() -> None:
    """Nor does a response that was never finished, or never begun."""

    async def silent(_scope: Any, _receive: Any, _send: Any) -> None:
        return

    with pytest.raises(AppError):
        await whole(exchange(silent))


async def test_an_app_that_is_cancelled_does_not_cancel_its_reader() -> None:
    """The engine's shutdown cancels its tasks; the reader hears of it as an error of the app."""

    async def cancelled(_scope: Any, _receive: Any, _send: Any) -> None:
        raise asyncio.CancelledError

    with pytest.raises(AppError):
        await whole(exchange(cancelled))


async def test_errors_after_the_response_are_not_the_readers() -> None:
    """The response was complete."""

    async def late(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"all"})
        raise LookupError("after")

    (part,) = await whole(exchange(late))
    assert part.data == b"all"


async def test_closing_ends_a_streams_source() -> None:
    """The generator behind a streaming response is closed before `close` returns."""
    ended = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        try:
            yield b"one"
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def handler(_: Request) -> Response:
        return StreamingResponse(pieces())

    ours = exchange(app(handler))
    async with aclosing(ours.parts()) as parts:
        assert (await anext(parts)).data == b"one"
    await ours.close()
    assert ended.is_set()


async def test_closing_reaches_handlers_in_tasks_of_their_own() -> None:
    """As vLLM's: the handler's task ends by a disconnect, and outlives a cancellation of its waiter."""
    handling, ended = asyncio.Event(), asyncio.Event()

    async def work() -> Response:
        try:
            handling.set()
            await asyncio.Event().wait()
            return Response()
        finally:
            ended.set()

    async def handler(request: Request) -> Response:
        task = asyncio.create_task(work())
        while (await request.receive())["type"] != "http.disconnect":
            pass
        task.cancel()
        await asyncio.wait([task])
        return Response("nobody reads this")

    async def read_the_body_first(request: Request) -> Response:
        await request.body()
        return await handler(request)

    ours = exchange(app(read_the_body_first))
    reader = asyncio.create_task(whole(ours))
    await handling.wait()
    reader.cancel()
    await asyncio.wait([reader])
    assert ended.is_set()


async def test_an_app_that_ignores_the_disconnect_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a time to let go."""
    monkeypatch.setattr(asgi, "_LET_GO_S", 0.0)
    handling, cancelled = asyncio.Event(), asyncio.Event()

    async def deaf(_scope: Any, _receive: Any, _send: Any) -> None:
        try:
            handling.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    ours = exchange(deaf)
    reader = asyncio.create_task(whole(ours))
    await handling.wait()
    reader.cancel()
    await asyncio.wait([reader])
    assert cancelled.is_set()


async def test_closing_before_reading_does_nothing() -> None:
    """There is no app to tell."""
    await exchange(None).close()


async def test_the_app_runs_in_the_given_context() -> None:
    """What is set there is seen by the app, in streams too, and not by the reader."""

    async def pieces() -> AsyncIterator[bytes]:
        yield mark.get().encode()

    async def handler(_: Request) -> Response:
        return StreamingResponse(pieces())

    contexts = [copy_context() for _ in range(3)]
    for number, context in enumerate(contexts):
        context.run(mark.set, str(number))
    target = app(handler)
    answers = await asyncio.gather(*(whole(exchange(target, context=context)) for context in contexts))
    assert [b"".join(part.data for part in parts) for parts in answers] == [b"0", b"1", b"2"]
    assert mark.get() == "unset"
