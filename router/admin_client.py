"""Talks to the admin API of a running service, for the command line."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from email.message import Message
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from router.settings import ADMIN_TOKEN_VARIABLE

_TIMEOUT_S = 10
_NOT_ALLOWED = (401, 403)
_REDIRECTIONS = range(300, 400)


class AdminUrlError(ValueError):
    """A URL that is none."""


class AdminError(Exception):
    """The service cannot be asked; the text is one line that says what to do."""


class AdminTokenError(AdminError):
    """The service wants another token than SPECROUTE_ADMIN_TOKEN has."""


class Answer(NamedTuple):
    """What the service answered: a status, its ETag ('' without one), and a JSON object."""

    status: int
    etag: str
    body: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """Whether it did what was asked."""
        return self.status < 300  # noqa: PLR2004 - HTTP's boundary

    @property
    def message(self) -> str:
        """What the service says is wrong."""
        error = self.body.get("error")
        return str(error.get("message", "")) if isinstance(error, dict) else ""


class _NoRedirects(HTTPRedirectHandler):
    """The token is for the service that was named, and a PUT must not become a GET."""

    def redirect_request(self, *_: object) -> None:
        """Never another request: the answer is the redirection."""


class AdminClient:
    """A client of one service. The token is that of SPECROUTE_ADMIN_TOKEN.

    Raises AdminUrlError where `url` is none.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        try:
            scheme = urlsplit(url).scheme
        except ValueError:
            scheme = ""
        if scheme not in {"http", "https"}:
            raise AdminUrlError(f"--url: {url!r} is no http:// or https:// URL")
        self._opener = build_opener(_NoRedirects)

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request; refusals of the service are answers too.

        Raises:
            AdminError: Nobody answers, or what answers is no specroute.
            AdminTokenError: The token is not right.
        """
        url = f"{self._url}{path}"
        # The scheme was checked.
        request = Request(url, data=body, method=method, headers=dict(headers or {}))  # noqa: S310
        if token := os.environ.get(ADMIN_TOKEN_VARIABLE):
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with self._opened(request) as response:
                status, told, raw = response.status, response.headers, response.read()
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise AdminError(f"{url}: {reason}: is the service running?") from None
        if status in _REDIRECTIONS:
            raise AdminError(f"{url}: answers with {told.get('Location')} instead: give that as --url")
        answer = _answer(url, status, told, raw)
        if answer.status in _NOT_ALLOWED:
            raise AdminTokenError(f"{url}: {answer.message}: is {ADMIN_TOKEN_VARIABLE} set?")
        return answer

    def _opened(self, request: Request) -> Any:
        try:
            return self._opener.open(request, timeout=_TIMEOUT_S)
        except HTTPError as refusal:
            return refusal


def _answer(url: str, status: int, headers: Message, raw: bytes) -> Answer:
    try:
        body = json.loads(raw)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise AdminError(f"{url}: what answers there is no specroute (status {status})")
    return Answer(status, headers.get("ETag") or "", body)
