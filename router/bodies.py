"""Reads a request's body, up to a limit."""

from __future__ import annotations

from typing import Final

from starlette.requests import ClientDisconnect, Request

from router.errors import BadRequestError

_TOO_LARGE: Final = 413


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The whole body.

    Raises:
        BadRequestError: It is larger than the limit (413), or the client went away.
    """
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit_bytes:
                raise BadRequestError(f"body: larger than {limit_bytes} bytes", status=_TOO_LARGE)
    except ClientDisconnect:
        raise BadRequestError("body: the client went away") from None
    return bytes(body)
