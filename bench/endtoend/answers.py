"""Asks for one streamed answer, and notes when its tokens came and who made them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import httpx

from bench.endtoend.workload import Prompt
from bench.results import BenchError

_ANSWER_S: Final = 900.0
_CONNECT_S: Final = 10.0
_SHOWN: Final = 300


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn, and how many at most."""

    name: str
    temperature: float
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. Seconds are the client's, tokens from the usage the service tells: chunks hold several."""

    prompt: str
    task: str
    ttft_s: float
    total_s: float
    tokens: int
    k: int
    route: str
    profile: str
    reason: str

    @property
    def tpot_s(self) -> float | None:
        """(last - first token time) / (tokens - 1); None for an answer of one token."""
        return (self.total_s - self.ttft_s) / (self.tokens - 1) if self.tokens > 1 else None


def to_row(answer: Answer) -> dict[str, Any]:
    """As it stands in a journal."""
    return asdict(answer)


async def ask(
    client: httpx.AsyncClient,
    url: str,
    prompt: Prompt,
    sampling: Sampling,
    headers: Mapping[str, str],
    *,
    model: str,
) -> Answer:
    """One prompt's whole answer by the service at `url`.

    Raises:
        BenchError: There is none, or one without usage.
    """
    body = {
        "model": model,
        "messages": list(prompt.messages),
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": sampling.temperature,
        "max_tokens": sampling.max_tokens,
    }
    began = time.perf_counter()
    first = last = None
    tokens = None
    try:
        async with client.stream(
            "POST", f"{url}/v1/chat/completions", json=body, headers=dict(headers), timeout=_timeouts()
        ) as response:
            if response.is_error:
                raise BenchError(
                    f"{prompt.ident}: HTTP {response.status_code}: {_short(await response.aread())}"
                )
            told = response.headers
            async for line in response.aiter_lines():
                now = time.perf_counter()
                event = _event(line)
                if event is None:
                    continue
                if "error" in event:
                    raise BenchError(f"{prompt.ident}: {_short(json.dumps(event['error']).encode())}")
                if any(_content(choice) for choice in event.get("choices") or ()):
                    first, last = first or now, now
                if usage := event.get("usage"):
                    tokens = int(usage["completion_tokens"])
    except (httpx.HTTPError, ValueError) as error:
        raise BenchError(f"{prompt.ident}: {type(error).__name__}: {_short(str(error).encode())}") from error
    if tokens is None:
        raise BenchError(f"{prompt.ident}: the answer ended without usage")
    end = last or time.perf_counter()
    return Answer(
        prompt=prompt.ident,
        task=prompt.task,
        ttft_s=(first or end) - began,
        total_s=end - began,
        tokens=tokens,
        k=int(told.get("x-specroute-k", "0")),
        route=told.get("x-specroute-route", ""),
        profile=told.get("x-specroute-profile", ""),
        reason=told.get("x-specroute-reason", ""),
    )


def _timeouts() -> httpx.Timeout:
    return httpx.Timeout(_ANSWER_S, connect=_CONNECT_S)


def _event(line: str) -> dict[str, Any] | None:
    data = line.removeprefix("data:").strip()
    if not line.startswith("data:") or data == "[DONE]":
        return None
    found = json.loads(data)
    return found if isinstance(found, dict) else None


def _content(choice: Mapping[str, Any]) -> bool:
    """Whether the event brings a token. An empty text does not, unless the answer ends with it."""
    return bool((choice.get("delta") or {}).get("content")) or choice.get("finish_reason") is not None


def _short(data: bytes) -> str:
    return " ".join(data.decode(errors="replace").split())[:_SHOWN]
