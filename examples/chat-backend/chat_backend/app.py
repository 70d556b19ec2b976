"""The HTTP side: a page, its conversation, and answers as server-sent events."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import openai
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from chat_backend.answering import Answer, Answering, BusyError, End
from chat_backend.guard import Guard, Sessions, refused
from chat_backend.settings import Settings
from chat_backend.store import Store
from chat_backend.upstream import Event, Piece, Waiting, connected
from chat_backend.upstream import Upstream as Specroute

_log = logging.getLogger(__name__)

_STATIC: Final = Path(__file__).with_name("static")
_DAY_S: Final = 86_400


class Question(BaseModel):
    """What the page sends; the text's length is checked against the settings."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    conversation: Annotated[str, Field(max_length=32)] | None


class Nothing(BaseModel):
    """An empty object: bodies must be JSON, which other sites cannot send unasked."""

    model_config = ConfigDict(extra="forbid")


class AnswerStream(StreamingResponse):
    """An answer's events. Whoever stops listening, at whatever moment, stops the answer."""

    def __init__(self, answer: Answer) -> None:
        # nginx, for one, would collect the stream.
        super().__init__(encoded(answer), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. Starlette cancels this when the browser goes away."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answer.stop()


async def encoded(answer: Answer) -> AsyncGenerator[str, None]:
    """Server-sent events: `piece`, `waiting`, and at last `end`. JSON has no line breaks of its own."""
    async for event in answer.follow():
        yield ": still here\n\n" if event is None else _event(event)


def _event(event: Event | End) -> str:
    kind: Literal["piece", "waiting", "end"]
    data: dict[str, Any]
    match event:
        case Piece():
            kind, data = "piece", {"text": event.text}
        case Waiting():
            kind, data = "waiting", {"seconds": round(event.seconds, 1)}
        case End():
            kind, data = "end", event.as_json()
        case _:  # pragma: no cover -- a Made is part of the End
            return ""
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"


class Api:
    """The endpoints under /api."""

    def __init__(self, store: Store, answering: Answering, settings: Settings) -> None:
        self._store = store
        self._answering = answering
        self._settings = settings
        self._sessions = Sessions(settings)

    async def conversation(self, request: Request, response: Response) -> dict[str, Any]:
        """What was said so far. Begins a session, if there is none."""
        session = self._sessions.of(request)
        if session is None:
            session = self._sessions.begin(response)
        else:
            self._sessions.renew(request, response)
        # Asked first: an answer that ends meanwhile is in the conversation.
        answering = self._answering.is_answering(session)
        found = await self._store.conversation(session)
        return {
            "id": found.id if found else None,
            "turns": [asdict(turn) for turn in found.turns] if found else [],
            "answering": answering,
            "model": self._settings.model,
            "max_question_chars": self._settings.max_question_chars,
        }

    async def ask(self, request: Request, question: Question) -> Response:
        """The answer to a question, as it comes."""
        session = self._sessions.of(request)
        if session is None:
            return refused(401, "There is no session: reload the page, and allow its cookie.")
        if len(question.text) > self._settings.max_question_chars:
            return refused(413, f"Ask in {self._settings.max_question_chars} characters at most.")
        try:
            return AnswerStream(self._answering.start(session, question.conversation, question.text))
        except BusyError as error:
            status = 409 if self._answering.is_answering(session) else 503
            return refused(status, str(error), {"Retry-After": "5"})

    async def stop(self, request: Request, _: Nothing) -> dict[str, Any]:
        """Stop the answer under way. Returns when what was said of it is saved."""
        if (session := self._sessions.of(request)) is not None:
            await self._answering.stop(session)
        return {}

    async def start(self, request: Request, _: Nothing) -> Response | dict[str, Any]:
        """A new conversation; the last one is deleted."""
        session = self._sessions.of(request)
        if session is None:
            return refused(401, "There is no session: reload the page, and allow its cookie.")
        await self._answering.stop(session)
        return {"id": (await self._store.start(session)).id}

    async def ready(self) -> Response:
        """Whether conversations can be read; where it is specroute that does not answer, the page says so."""
        await self._store.conversation("")
        return Response("ready\n", media_type="text/plain")


def create_app(settings: Settings, client: openai.AsyncOpenAI | None = None) -> FastAPI:
    """The application; `client` in the place of the one the settings describe."""
    client = client or connected(settings)
    store = Store(
        settings.database,
        keep_s=settings.keep_days * _DAY_S,
        max_conversations=settings.max_conversations,
    )
    answering = Answering(store, Specroute(client, settings), settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await answering.close()
        await store.close()
        await client.close()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, max_question_chars=settings.max_question_chars)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(sqlite3.Error, _no_store)
    api = Api(store, answering, settings)
    app.get("/api/conversation")(api.conversation)
    app.post("/api/conversation", response_model=None)(api.start)
    app.post("/api/questions", response_model=None)(api.ask)
    app.post("/api/stop")(api.stop)
    app.get("/readyz", response_model=None)(api.ready)
    app.get("/healthz")(_alive)
    app.get("/", response_model=None)(_page)
    app.mount("/static", StaticFiles(directory=_STATIC))
    return app


async def _alive() -> Response:
    return Response("alive\n", media_type="text/plain")


async def _page() -> Response:
    # The page and its files are of one release, so they are asked for anew, which is cheap.
    return FileResponse(_STATIC / "index.html", headers={"Cache-Control": "no-cache"})


async def _invalid(_: Request, error: Exception) -> Response:
    fields = error.errors() if isinstance(error, RequestValidationError) else []
    problems = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in fields]
    return refused(422, "; ".join(problems[:5]).encode("ascii", "backslashreplace").decode()[:500])


async def _http_error(_: Request, error: Exception) -> Response:
    status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "")
    return refused(status, str(detail)[:500])


async def _no_store(_: Request, error: Exception) -> Response:
    _log.error("the store does not answer: %s", error)
    return refused(503, "This chat cannot read its conversations now.", {"Retry-After": "5"})
