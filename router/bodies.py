"""Reads a request's body, up to a limit."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.types import Receive

from router.errors import BadRequestError

_TOO_LARGE: Final = 413


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The whole body of a request; see `received_body`."""
    return await received_body(request.receive, limit_bytes)


async def received_body(receive: Receive, limit_bytes: int) -> bytes:
    """The whole body.

    Raises:
        BadRequestError: It is larger than the limit (413), or the client went away.
    """
    parts: list[bytes] = []
    left, more = limit_bytes, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequestError("body: the client went away")
        part = message.get("body", b"")
        parts.append(part)
        left -= len(part)
        if left < 0:
            raise BadRequestError(f"body: larger than {limit_bytes} bytes", status=_TOO_LARGE)
        more = message.get("more_body", False)
    return b"".join(parts)
