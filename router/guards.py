"""Who may see and change what is the operator's: the admin API and the metrics."""

from __future__ import annotations

import hmac
import ipaddress
import os
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from router.errors import NotAllowedError
from router.settings import ADMIN_TOKEN_VARIABLE, METRICS_TOKEN_VARIABLE

_FORBIDDEN: Final = 403
_FORWARDED: Final = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
"""Headers of proxies: who stands behind one is not on this machine for sure."""


class OperatorGuard:
    """Lets operators in, and nobody else.

    1. With an admin token only that opens the admin API, from wherever it is called.
    2. Without one the API is closed, unless the service listens on loopback only (`open_admin`). Then it is
       open to programs of this machine; not to callers behind a proxy here, and not to web pages in a browser
       here (of another origin, or under a name of their own that resolves to this machine).
    3. What a request says of itself can only close the API, never open it.

    Metrics name the tenants that the policy names, and tell how busy the fleet is and with what. A token of
    their own, or the admin token, opens them; without one of their own they are open to programs of this
    machine as under 2.
    """

    def __init__(
        self, *, admin_token: str | None, metrics_token: str | None = None, open_admin: bool = False
    ) -> None:
        # Bytes against bytes, as they came: neither a header nor the environment need be valid UTF-8.
        self._admin = os.fsencode(admin_token) if admin_token else None
        self._metrics = os.fsencode(metrics_token) if metrics_token else None
        self._open = open_admin

    def check_admin(self, headers: Mapping[str, str]) -> None:
        """Raise NotAllowedError where these headers (names in lower case) do not open the admin API."""
        if self._admin is None:
            if not self._is_open_to(headers):
                raise self._closed("admin API", ADMIN_TOKEN_VARIABLE)
        elif not _same(headers, self._admin):
            raise NotAllowedError("the admin API needs its own token: Authorization: Bearer <token>")

    def check_metrics(self, headers: Mapping[str, str]) -> None:
        """The same for the metrics."""
        if self._metrics is None and self._is_open_to(headers):
            return
        known = [_same(headers, token) for token in (self._metrics, self._admin) if token is not None]
        if not known:
            raise self._closed("list of metrics", METRICS_TOKEN_VARIABLE)
        if True not in known:
            raise NotAllowedError(
                f"metrics need the token of {METRICS_TOKEN_VARIABLE} or {ADMIN_TOKEN_VARIABLE}: "
                "Authorization: Bearer <token>"
            )

    def _is_open_to(self, headers: Mapping[str, str]) -> bool:
        return self._open and _is_local(headers)

    def _closed(self, what: str, variable: str) -> NotAllowedError:
        state = "open to programs of this machine only, which call it 127.0.0.1" if self._open else "closed"
        return NotAllowedError(f"the {what} is {state}: set {variable} for the service", status=_FORBIDDEN)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _same(headers: Mapping[str, str], token: bytes) -> bool:
    given = headers.get("authorization", "").removeprefix("Bearer ")
    return hmac.compare_digest(given.encode("latin-1", "replace"), token)


def _is_local(headers: Mapping[str, str]) -> bool:
    """Whether nothing in the headers speaks for a caller that is not a program of this machine."""
    if any(name in headers for name in _FORWARDED):
        return False
    origin = headers.get("origin")
    if origin is not None and not is_loopback(_host(origin)):
        return False
    return is_loopback(_host(f"//{headers.get('host', '')}"))


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
