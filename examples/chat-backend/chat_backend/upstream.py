"""Asks specroute, through OpenAI's own client; tries again while nothing of an answer has been shown."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

import openai
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

from chat_backend.settings import Settings

_log = logging.getLogger(__name__)

CONNECT_S: Final = 5.0
FIRST_WAIT_S: Final = 0.5
"""Before the second attempt, where specroute does not say how long to wait; it doubles from there."""

_PASSING: Final = frozenset({429, 500, 502, 503})
"""Too much in flight; an engine that failed; no engine now. A 504 is the deadline: it has passed."""
_IN_HEADERS: Final = ("route", "task", "profile", "reason")
_DETAILS: Final = (*_IN_HEADERS, "k", "acceptance_length", "measured_s", "failovers")


@dataclass(frozen=True)
class Piece:
    """More of the answer's text."""

    text: str


@dataclass(frozen=True)
class Waiting:
    """Specroute is busy; it is asked again after so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Made:
    """How the answer is made, as far as that is known: first when it begins, then when it is complete."""

    details: dict[str, Any] = field(default_factory=dict)


Event = Piece | Waiting | Made


class NoAnswerError(Exception):
    """There is no answer, or no more of it. The message is for its reader and names nothing of the inside."""


class EndedEarlyError(Exception):
    """The stream ended without an error and without a finish reason."""


_FAILURES: Final = (openai.OpenAIError, EndedEarlyError, ValueError)
"""ValueError: an event that is no JSON."""


class Upstream:
    """Specroute, as the tenant whose key this is."""

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        settings: Settings,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._settings = settings
        self._sleep = sleep
        self._jitter = jitter

    async def answer(
        self, asked: Sequence[ChatCompletionMessageParam], *, request_id: str, deadline: float
    ) -> AsyncGenerator[Event, None]:
        """The events of one answer; `deadline` is a time of the event loop's clock.

        Closing the generator closes the connection, which ends the request in the engine.

        Raises:
            NoAnswerError: Also after some pieces. Those that came stay valid.
        """
        begun = False
        for attempt in range(1, self._settings.attempts + 1):
            name = f"{request_id}-{attempt}"
            left_s = deadline - asyncio.get_running_loop().time()
            try:
                async with aclosing(self._attempt(asked, name, left_s)) as events:
                    async for event in events:
                        begun = begun or isinstance(event, Piece)
                        yield event
            except _FAILURES as error:
                _log.warning("request %s: %s: %.300r", name, type(error).__name__, str(error))
                if begun:
                    raise NoAnswerError("The answer broke off. Ask again, or go on from here.") from error
                wait_s = retry_after_s(error, attempt, self._jitter())
                left_s = deadline - asyncio.get_running_loop().time()
                if wait_s is None or wait_s >= left_s or attempt == self._settings.attempts:
                    raise NoAnswerError(_for_readers(error)) from error
            else:
                return
            yield Waiting(wait_s)
            await self._sleep(wait_s)

    async def _attempt(
        self, asked: Sequence[ChatCompletionMessageParam], name: str, left_s: float
    ) -> AsyncGenerator[Event, None]:
        headers = {"X-Request-Id": name, "X-Specroute-Deadline": f"{max(1, round(left_s))}s"}
        if self._settings.show_details:
            headers["X-Specroute-Details"] = "1"
        if self._settings.task is not None:
            headers["X-Specroute-Task"] = self._settings.task
        stream = await self._client.chat.completions.create(
            model=self._settings.model,
            messages=asked,
            max_completion_tokens=self._settings.max_answer_tokens,
            stream=True,
            stream_options={"include_usage": True},
            extra_headers=headers,
        )
        yield Made({"request_id": name} | (_told(stream) if self._settings.show_details else {}))
        finish_reason, details = "", dict[str, Any]()
        async with stream:
            async for chunk in stream:
                for choice in chunk.choices:
                    finish_reason = choice.finish_reason or finish_reason
                    if choice.delta.content:
                        # Half a character, which JSON can hold, could be neither saved nor sent on.
                        yield Piece(choice.delta.content.encode(errors="replace").decode())
                details |= _details(chunk)
        if not finish_reason:
            raise EndedEarlyError("the stream ended without a finish reason")
        yield Made(details | {"finish_reason": finish_reason})


def connected(settings: Settings) -> openai.AsyncOpenAI:
    """The official client, with the tenant's key. It does not retry: `Upstream` does, and says so."""

    async def key() -> str:
        file = settings.specroute_key_file
        if file is None:
            return "none"
        text = await asyncio.to_thread(file.read_text, "utf-8")
        return text.strip()

    return openai.AsyncOpenAI(
        base_url=settings.specroute_url,
        api_key=key,
        max_retries=0,
        timeout=openai.Timeout(settings.deadline_s, connect=CONNECT_S),
    )


def retry_after_s(error: Exception, attempt: int, jitter: float) -> float | None:
    """How long to wait before the next attempt; None where another one would not help.

    What `Retry-After` says, or else FIRST_WAIT_S, doubled for every attempt; a part more by `jitter` in
    [0, 1), so that those who were refused together do not come back together.
    """
    wait_s = FIRST_WAIT_S * 2.0 ** (attempt - 1)
    if isinstance(error, openai.APIStatusError):
        told = error.response.headers.get("retry-after", "")
        if told.isascii() and told.isdecimal():
            wait_s = float(told[:6])
    is_passing = isinstance(error, openai.APIConnectionError | EndedEarlyError) or _status(error) in _PASSING
    return wait_s * (1 + jitter / 4) if is_passing else None


def _status(error: Exception) -> int | None:
    """The HTTP status, or the one in the error object of a stream that had begun with 200."""
    if isinstance(error, openai.APIStatusError):
        return error.status_code
    body = error.body if isinstance(error, openai.APIError) else None
    code = body.get("code") if isinstance(body, dict) else None
    return code if isinstance(code, int) else None


def _for_readers(error: Exception) -> str:
    status = _status(error)
    if status in {401, 403}:
        return "This chat may not use the model service now. Tell whoever runs it."
    if status in {400, 413, 422}:
        return "The model service refused this question. The conversation may be too long: start a new one."
    if status == 504:  # noqa: PLR2004 -- gateway timeout
        return "The answer took too long. Try again."
    return "The model service is busy or away. Try again in a moment."


def _told(stream: openai.AsyncStream[ChatCompletionChunk]) -> dict[str, Any]:
    """What specroute's headers say, before anything of the answer is there."""
    headers = stream.response.headers
    told = {name: headers.get(f"x-specroute-{name}") for name in _IN_HEADERS}
    k = headers.get("x-specroute-k", "")
    return {name: text for name, text in told.items() if text} | ({"k": int(k)} if k.isdecimal() else {})


def _details(chunk: ChatCompletionChunk) -> dict[str, Any]:
    """Tokens, and of the `specroute` object what readers may see."""
    found: dict[str, Any] = {}
    if chunk.usage is not None:
        found = {
            "prompt_tokens": chunk.usage.prompt_tokens,
            "completion_tokens": chunk.usage.completion_tokens,
        }
    made = (chunk.model_extra or {}).get("specroute")
    if isinstance(made, dict):
        found |= {name: made[name] for name in _DETAILS if name in made}
    return found
