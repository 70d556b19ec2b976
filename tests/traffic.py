"""Clients of every kind over fake engines, whose answers are known beforehand, and what came of each request."""

from __future__ import annotations

import asyncio
import itertools
import json
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Self

import httpx
from services import MODEL
from waiting import ANSWER_S

from replicas.fake_words import answer_ids, prompt_ids, text_of
from replicas.frames import packed

KINDS: Final = ("stream",) * 5 + ("whole",) * 3 + ("leave", "bad")
"""Of ten requests: streamed, in one piece, left by their client after the first token, and nonsense."""
BAD_BODIES: Final = (b"", b"{", b"[]", b'"text"', b"\xff\xfe", b'{"messages": [', b"null")
"""Refused before they are routed: no outcome counts them."""
CLEAN: Final = {429, 503, 504}
"""What a service in trouble may answer, with an error object."""


def known_text(body: dict[str, Any]) -> str:
    """What the fake engine answers to a chat request."""
    prompt = prompt_ids(body)
    words = Random(zlib.crc32(packed(prompt)))
    return text_of(answer_ids(words, prompt, body["max_tokens"], copied=None))


class _TryAgainError(Exception):
    """The service said so."""


@dataclass
class Tally:
    """What was sent and what came of it. Every request is in `results` exactly once."""

    sent: Counter[str] = field(default_factory=Counter)
    results: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    told_to_wait: int = 0
    """503 in good form, to clients that then send the request again."""
    broken: int = 0
    """Connections that broke; where that was allowed, the request was sent again."""

    @property
    def requests(self) -> int:
        """Requests of all kinds, each counted once."""
        return sum(self.sent.values())

    @property
    def routed(self) -> int:
        """Those that have an outcome, when no connection broke."""
        return self.requests - self.sent["bad"]

    def report(self) -> dict[str, Any]:
        """The figures, for people."""
        return {
            "requests": self.requests,
            "sent": dict(self.sent),
            "results": dict(self.results),
            "broken_connections": self.broken,
            "told_to_wait": self.told_to_wait,
            "complaints": self.complaints[:10],
        }


class Clients:
    """Some clients at once, each sending one request after the other.

    With `retry_s`, a request whose connection breaks, or that is told to come back, is sent again for so
    long, as clients in front of a proxy that ends do; without, a broken connection is a complaint.
    Other refusals are complaints. All questions and all strangers differ, unless there are only so many
    `different` ones.
    """

    def __init__(
        self,
        url: str,
        *,
        at_once: int = 16,
        tenants: Sequence[str] = (),
        strangers: float = 0.0,
        retry_s: float = 0.0,
        rate: float = 0.0,
        seed: int = 1,
        tokens: int = 24,
        different: int = 0,
    ) -> None:
        self.tally = Tally()
        self._url = url
        self._at_once = at_once
        self._tenants = tenants
        self._strangers = strangers
        self._retry_s = retry_s
        self._rate = rate
        self._rng = Random(seed)
        self._tokens = tokens
        self._different = different
        self._turns = itertools.count()
        self._over = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        limits = httpx.Limits(max_connections=None)
        self._http = httpx.AsyncClient(base_url=self._url, timeout=ANSWER_S, limits=limits)
        self._started_s = asyncio.get_running_loop().time()
        self._tasks = [asyncio.create_task(self._client()) for _ in range(self._at_once)]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let every client finish its request."""
        self._over.set()
        try:
            await asyncio.gather(*self._tasks)
        finally:
            await self._http.aclose()

    async def sent(self, count: int) -> None:
        """Return when so many requests were sent."""
        while self.tally.requests < count:
            await asyncio.sleep(0.05)
            for task in self._tasks:
                if task.done():
                    task.result()

    async def _client(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._over.is_set():
            number = next(self._turns)
            if self._rate:
                await asyncio.sleep(max(0.0, self._started_s + number / self._rate - loop.time()))
                if self._over.is_set():
                    return
            await self._one(number)

    async def _one(self, number: int) -> None:
        kind = KINDS[number % len(KINDS)]
        self.tally.sent[kind] += 1
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._retry_s
        while True:
            try:
                result = await self._ask(kind, number)
                break
            except _TryAgainError:
                self.tally.told_to_wait += 1
                wrong = "503 for ever"
            except httpx.TransportError as error:
                self.tally.broken += 1
                wrong = f"no answer: {type(error).__name__}: {error}"
            if loop.time() >= until_s:
                self._complain(number, kind, wrong)
                result = "unanswered"
                break
            await asyncio.sleep(0.2)
        self.tally.results[result] += 1

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if self._rng.random() < self._strangers:
            stranger = self._rng.randrange(self._different or 2**48)
            headers["X-Specroute-Tenant"] = f"stranger-{stranger:x}"
        elif self._tenants:
            headers["X-Specroute-Tenant"] = self._rng.choice(self._tenants)
        return headers

    def _complain(self, number: int, kind: str, what: str) -> None:
        self.tally.complaints.append(f"request {number} ({kind}): {what}")

    async def _ask(self, kind: str, number: int) -> str:
        if kind == "bad":
            return await self._bad(number)
        question = number % self._different if self._different else number
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": f"Question {question}: what follows?"}],
            "max_tokens": 4 + number % self._tokens,
        }
        if kind == "whole":
            return await self._whole(number, body)
        return await self._stream(number, body, leave=kind == "leave")

    async def _bad(self, number: int) -> str:
        content = BAD_BODIES[number % len(BAD_BODIES)]
        answer = await self._http.post("/v1/chat/completions", content=content, headers=self._headers())
        if answer.status_code in CLEAN:
            return self._refused(number, "bad", answer.status_code, answer.content)
        if answer.status_code != httpx.codes.BAD_REQUEST or not _is_error(answer.content):
            self._complain(number, "bad", f"status {answer.status_code}: {answer.text[:80]}")
        return "bad request"

    async def _whole(self, number: int, body: dict[str, Any]) -> str:
        answer = await self._http.post("/v1/chat/completions", json=body, headers=self._headers())
        if answer.status_code != httpx.codes.OK:
            return self._refused(number, "whole", answer.status_code, answer.content)
        said = answer.json()
        self._check(number, "whole", body, said["choices"][0]["message"]["content"], said["usage"])
        return "answered"

    async def _stream(  # noqa: C901 - one branch per kind of line
        self, number: int, body: dict[str, Any], *, leave: bool
    ) -> str:
        asked = body | {"stream": True, "stream_options": {"include_usage": True}}
        text, usage, error, done = "", None, None, 0
        async with self._http.stream(
            "POST", "/v1/chat/completions", json=asked, headers=self._headers()
        ) as answer:
            if answer.status_code != httpx.codes.OK:
                return self._refused(number, "stream", answer.status_code, await answer.aread())
            async for line in answer.aiter_lines():
                if line == "data: [DONE]":
                    done += 1
                elif line:
                    event = json.loads(line.removeprefix("data: "))
                    error = error or event.get("error")
                    usage = event.get("usage") or usage
                    for choice in event.get("choices", ()):
                        text += choice["delta"].get("content") or ""
                if leave and text:
                    if not known_text(body).startswith(text):
                        self._complain(number, "leave", f"began with {text!r}")
                    return "left"
        if done != 1:
            self._complain(number, "stream", f"{done} ends, after {text[-30:]!r}")
        if error is not None:
            if not known_text(body).startswith(text):
                self._complain(number, "stream", f"tokens out of order before an error: {text[-60:]!r}")
            return self._refused(number, "stream", int(error["code"]), json.dumps({"error": error}).encode())
        self._check(number, "stream", body, text, usage)
        return "answered"

    def _check(
        self, number: int, kind: str, body: dict[str, Any], text: str, usage: dict[str, int] | None
    ) -> None:
        if text != known_text(body):
            self._complain(number, kind, f"{text[:60]!r} instead of {known_text(body)[:60]!r}")
        if usage is None or usage["completion_tokens"] != body["max_tokens"]:
            self._complain(number, kind, f"usage {usage}, {body['max_tokens']} tokens asked for")

    def _refused(self, number: int, kind: str, status: int, content: bytes) -> str:
        if self._retry_s and status == httpx.codes.SERVICE_UNAVAILABLE and _is_error(content):
            raise _TryAgainError
        self._complain(number, kind, f"status {status}: {content[:100]!r}")
        return f"status {status}"


def _is_error(content: bytes) -> bool:
    """Whether it is OpenAI's error object."""
    try:
        error = json.loads(content)["error"]
    except (ValueError, TypeError, KeyError):
        return False
    return isinstance(error, dict) and bool(error.get("message")) and "code" in error and "type" in error
