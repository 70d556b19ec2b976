"""The demo's view of a service: plain HTTP, as any client has it."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx

from router.demo.prompts import Prompt
from router.demo.rows import Pass, Row

_CONNECT_S = 5.0
_BETWEEN_CHUNKS_S = 120.0
_SHOWN_CHARACTERS = 200


class ServiceError(Exception):
    """The service cannot be used; one line that says why."""


@dataclass(slots=True)
class _Answer:
    """What a stream has told so far."""

    text: list[str] = field(default_factory=list)
    tokens: int | None = None
    details: dict[str, Any] | None = None
    error: str | None = None

    def take(self, event: Any) -> None:
        if not isinstance(event, dict):
            return
        if event.get("error") is not None:
            self.error = _error_text(event)
        for choice in event.get("choices") or ():
            self.text.append((choice.get("delta") or {}).get("content") or "")
        if usage := event.get("usage"):
            self.tokens = usage.get("completion_tokens")
        if isinstance(event.get("specroute"), dict):
            self.details = event["specroute"]

    def problem(self) -> str | None:
        """Why this is no complete answer, or None."""
        if self.error is not None:
            return self.error
        if self.details is None or self.tokens is None:
            return "the answer ended without usage and details"
        return None


class Service:
    """A running specroute. Use as an async context manager."""

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Nothing is sent yet. `transport` stands in for the network in tests."""
        self.url = url.rstrip("/")
        self._client = httpx.AsyncClient(
            base_url=self.url,
            timeout=httpx.Timeout(_BETWEEN_CHUNKS_S, connect=_CONNECT_S),
            transport=transport,
            trust_env=False,  # a proxy for the world outside must not see what is on this machine
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def model(self) -> str:
        """The name of the model that is served.

        Raises:
            ServiceError: It cannot be found out.
        """
        try:
            response = await self._client.get("/v1/models")
            response.raise_for_status()
            return str(response.json()["data"][0]["id"])
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            raise ServiceError(f"{self.url}/v1/models: {_words(error)}") from None

    async def ask(
        self, prompt: Prompt, *, model: str, beside: Pass, concurrency: int, vanilla: bool = False
    ) -> Row:
        """Send one prompt and read its whole answer. Failures are rows too: nothing is raised.

        With `vanilla` the request asks for that route, and is no part of the pass it runs `beside`.
        """
        headers = {"X-Specroute-Details": "1", "X-Specroute-Route": "vanilla" if vanilla else "auto"}
        common: dict[str, Any] = {
            "phase": "vanilla" if vanilla else beside,
            "beside": beside,
            "prompt": prompt.id,
            "intended_task": prompt.task,
            "concurrency": concurrency,
        }
        answer, task = _Answer(), None
        try:
            async with self._client.stream(
                "POST", "/v1/chat/completions", json=prompt.body(model), headers=headers
            ) as response:
                task = response.headers.get("x-specroute-task")
                if response.is_error:
                    answer.error = f"HTTP {response.status_code}: {_error_text(await response.aread())}"
                else:
                    async for event in _events(response):
                        answer.take(event)
        except (httpx.HTTPError, ValueError, AttributeError, TypeError) as error:
            answer.error = _words(error)  # of the network, or of an answer in no form of OpenAI's
        problem = answer.problem()
        if problem is not None or answer.details is None or answer.tokens is None:
            return Row(**common, task=task, error=problem)
        return Row.of_details(answer.details, **common, tokens=answer.tokens, text="".join(answer.text))


def readiness(url: str, *, patience_s: float = 0.0) -> str:
    """`ready`, `starting` or `absent`: what answers /readyz; waits up to `patience_s` for one that starts."""
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            response = httpx.get(f"{url.rstrip('/')}/readyz", timeout=_CONNECT_S, trust_env=False)
            state = response.json()["status"]
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError):
            return "absent"
        if state not in {"ready", "starting"}:
            return "absent"
        if state == "ready" or time.monotonic() >= deadline_s:
            return str(state)
        time.sleep(1.0)


async def _events(response: httpx.Response) -> AsyncIterator[Any]:
    async for line in response.aiter_lines():
        data = line.removeprefix("data:").strip()
        if line.startswith("data:") and data != "[DONE]":
            yield json.loads(data)


def _error_text(answer: Any) -> str:
    """The message of OpenAI's error object, or the beginning of whatever came instead."""
    if isinstance(answer, bytes):
        try:
            answer = json.loads(answer)
        except ValueError:
            return " ".join(answer.decode(errors="replace").split())[:_SHOWN_CHARACTERS]
    error = answer.get("error") if isinstance(answer, dict) else None
    message = error.get("message") if isinstance(error, dict) else error or answer
    return " ".join(str(message).split())[:_SHOWN_CHARACTERS]


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:_SHOWN_CHARACTERS] or type(error).__name__
