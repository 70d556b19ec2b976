"""What keeps strangers out of other people's sessions, and the page's text from becoming anything else."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chat_backend.settings import Settings

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_BODY_FACTOR: Final = 12
"""Bytes a character takes in JSON at most: two escapes of six bytes each."""

HEADERS: Final[Mapping[str, str]] = {
    # Only our own files; no inline script, nothing to or from another origin, no frame. Trusted types: the
    # browser itself refuses to make markup out of text.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """Refuses what other sites send through a reader's browser, and what is too large; sets the headers."""

    def __init__(self, app: ASGIApp, *, max_question_chars: int) -> None:
        self._app = app
        self._max_bytes = 1024 + _BODY_FACTOR * max_question_chars

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = None if scope["method"] in {"GET", "HEAD"} else self._refusal(Headers(scope=scope))
        await (refusal or self._app)(scope, receive, guarded)

    def _refusal(self, headers: Headers) -> Response | None:
        if not is_same_origin(headers):
            return refused(403, "This came from another site.")
        length = headers.get("content-length", "")
        if not length.isdecimal():
            return refused(411, "Say how long the body is: Content-Length.")
        if len(length) > len(str(self._max_bytes)) or int(length) > self._max_bytes:
            return refused(413, "That is too long.")
        return None


def refused(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An error as the page reads it."""
    return JSONResponse({"error": message}, status, headers)


def is_same_origin(headers: Headers) -> bool:
    """Whether our own page sent this, or no browser at all.

    Browsers say it in `Sec-Fetch-Site` (to https and to one's own machine), else in `Origin`. What is no
    browser carries nobody's cookie. Beside this check the cookie is SameSite=Strict, and bodies must be JSON.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")


class Sessions:
    """A session is a random token in a cookie that scripts cannot read. The store gets its digest alone."""

    def __init__(self, settings: Settings) -> None:
        self._secure = settings.secure_cookie
        # With this prefix browsers refuse a cookie that another host set, or that came unencrypted.
        self._name = "__Host-session" if self._secure else "session"
        self._keep_s = int(settings.keep_days * 86_400)

    def of(self, request: Request) -> str | None:
        """The request's session; None where it has none."""
        token = request.cookies.get(self._name, "")
        return self._digest(token) if _TOKEN.fullmatch(token) else None

    def begin(self, response: Response) -> str:
        """A new session, which the response tells the browser."""
        token = secrets.token_urlsafe(32)
        self._set(response, token)
        return self._digest(token)

    def renew(self, request: Request, response: Response) -> None:
        """Let the cookie live on."""
        self._set(response, request.cookies[self._name])

    def _set(self, response: Response, token: str) -> None:
        response.set_cookie(
            self._name, token, max_age=self._keep_s, httponly=True, secure=self._secure, samesite="strict"
        )

    @staticmethod
    def _digest(token: str) -> str:
        return hashlib.sha256(token.encode()).hexdigest()
