"""What one request may ask for at most: refused here, before it costs an engine anything.

The rest stands elsewhere: the size of a body in `router.bodies`, requests in flight and deadlines in the
policy's `limits`, the length of a prompt in the engine, which knows its tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from router.errors import BadRequestError
from router.lax_values import number
from router.settings import HttpSettings

_ENGINE_FIELDS: Final = ("kv_transfer_params", "ec_transfer_params")
"""Fields of vLLM with which its own processes talk to each other. What else of a body would set an engine's
internals (`priority`, `vllm_xargs`, `cache_salt`) is dropped or replaced in `replicas.observed_llm`."""
_HEADERS_TOO_LARGE: Final = 431
_NESTS: Final = (dict, list)
_LINE_BYTES: Final = 4
"""What a header takes beside its name and value: a colon, a space and the line's end."""


class HeadLimits:
    """ASGI middleware: refuses requests whose head (target and headers) is too large or cannot be read."""

    def __init__(self, app: ASGIApp, limits: HttpSettings) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        if scope["type"] == "http" and (error := self._error(scope)) is not None:
            await JSONResponse(error.body(), error.http_status)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _error(self, scope: Scope) -> BadRequestError | None:
        headers, query = scope["headers"], scope.get("query_string", b"")
        if len(headers) > self._limits.max_headers:
            message = f"headers: {len(headers)} are too many; at most {self._limits.max_headers}"
            return BadRequestError(message, status=_HEADERS_TOO_LARGE)
        size = len(scope.get("raw_path") or b"") + len(query)
        size += sum(len(name) + len(value) + _LINE_BYTES for name, value in headers)
        if size > self._limits.max_header_bytes:
            message = f"headers: larger than {self._limits.max_header_bytes} bytes, with path and query"
            return BadRequestError(message, status=_HEADERS_TOO_LARGE)
        if not query.isascii():  # Starlette would fail where it reads the URL
            return BadRequestError("query: percent-encode what is not ASCII")
        return None


def check_limits(body: bytes, fields: Mapping[str, Any], limits: HttpSettings) -> None:
    """Check what a body asks for; `fields` are what it holds.

    Raises:
        BadRequestError: It is nested too deeply, asks for too many answers at once, or sets what is between
            engines.
    """
    # Bytes are counted in no time, and few requests have more brackets than they may have levels.
    brackets = body.count(b"{") + body.count(b"[")
    if brackets > limits.max_json_depth and deeper_than(limits.max_json_depth, fields):
        raise BadRequestError(f"body: nested deeper than {limits.max_json_depth} levels")
    for name in _ENGINE_FIELDS:
        if fields.get(name) is not None:
            raise BadRequestError(f"{name}: not for clients; leave it out", param=name)
    answers = _prompts(fields.get("prompt")) * max(_count(fields.get("n")), _count(fields.get("best_of")))
    if answers > limits.max_answers:
        raise BadRequestError(
            f"n: {_shown(answers)} answers at once (prompts times n); at most {limits.max_answers}",
            param="n",
        )


def deeper_than(depth: int, value: object) -> bool:
    """Whether objects and arrays stand in each other more than `depth` times, without recursion."""
    level: list[Any] = [value] if isinstance(value, _NESTS) else []
    for _ in range(depth):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, _NESTS)
        ]
    return bool(level)


def _prompts(prompt: object) -> int:
    """How many prompts a completion has; token ids in an array are one. The engine judges their types."""
    if not isinstance(prompt, list) or not prompt or isinstance(prompt[0], int):
        return 1
    return len(prompt)


def _count(given: object) -> int:
    """A count as far as it is one; the engine refuses what is none."""
    found = number(given)
    return 1 if found is None or not found > 1 else int(min(found, 1e9))


def _shown(number: int) -> str:
    return str(number) if number < 1e9 else "a billion or more"  # noqa: PLR2004 - where `_count` stops
