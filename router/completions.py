"""The endpoints that ask the model: plain ASGI, since what is done per request and per event here adds up.

No framework stands between the server and the service (what that saves: docs/decisions/0025-data-path.md).
Ray Serve watches for clients that go away and cancels the request; nobody else listens for that here.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import aclosing
from typing import Final

from starlette.types import Message, Receive, Scope, Send

from replicas.isolation import salt_of
from router.bodies import received_body
from router.capture import Responding
from router.errors import ApiError
from router.limits import check_limits
from router.requests import RoutedRequest, read_request
from router.service import Response
from router.settings import DeploymentSettings
from router.telemetry import Metrics
from router.tenant_api import TenantApi

_log = logging.getLogger(__name__)

PATHS: Final = ("/v1/chat/completions", "/v1/completions")
_JSON: Final = "application/json"


class Completions:
    """An ASGI application that answers a POST to one of `PATHS`; every error is an OpenAI error object."""

    def __init__(
        self, settings: DeploymentSettings, service: Responding, metrics: Metrics, tenants: TenantApi
    ) -> None:
        self._settings = settings
        self._service = service
        self._metrics = metrics
        self._tenants = tenants

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        The client has all of the answer before the service ends its work on it, which takes up no turn of the
        loop: whoever asks next finds the request on record.
        """
        try:
            response = await self._service.respond(await self._request(scope, receive))
            streaming = response.content_type.startswith("text/event-stream")
            whole = None if streaming else await _whole(response)
        except Exception as error:  # noqa: BLE001 - the client is told, and so is the log
            await self._failed(error, scope, send)
            return
        self._metrics.on_response(response.status)
        async with aclosing(response.body) as body:
            await send(_start(response, whole))
            more = whole is None
            if whole is not None:
                await send({"type": "http.response.body", "body": whole})
            async for part in body:
                if more:
                    more = not response.complete()
                    await send({"type": "http.response.body", "body": part, "more_body": more})
            if more:
                await send({"type": "http.response.body", "body": b""})

    async def _request(self, scope: Scope, receive: Receive) -> RoutedRequest:
        # Of repeated headers the last, which a gateway in between put there.
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        tenant = self._tenants.tenant(headers)  # before the body, which strangers could make a large one
        body = await received_body(receive, self._settings.http.max_body_bytes)
        routed = read_request(
            scope["path"],
            headers,
            body,
            tenant=tenant,
            tasks=self._service.tasks,
            cache_salt="" if self._settings.tenancy.share_prefix_cache else salt_of(tenant),
        )
        check_limits(body, routed.fields, self._settings.http)
        return routed

    async def _failed(self, error: Exception, scope: Scope, send: Send) -> None:
        if not isinstance(error, ApiError):
            _log.error("POST %s failed", scope["path"], exc_info=error)
            error = ApiError("internal error; see the service's log")
        self._metrics.on_response(error.http_status)
        data = json.dumps(error.body(), ensure_ascii=False, separators=(",", ":")).encode()
        headers = _raw({**error.headers(), "content-length": str(len(data)), "content-type": _JSON})
        await send({"type": "http.response.start", "status": error.http_status, "headers": headers})
        await send({"type": "http.response.body", "body": data})


async def _whole(response: Response) -> bytes:
    parts = []
    async for part in response.body:
        parts.append(part)
        if response.complete():
            break
    return b"".join(parts)


def _start(response: Response, whole: bytes | None) -> Message:
    content_type = response.content_type or _JSON
    if content_type.startswith("text/") and "charset=" not in content_type.lower():
        content_type += "; charset=utf-8"
    headers = _raw({**response.headers, "content-type": content_type})
    if whole is not None:
        headers.append((b"content-length", str(len(whole)).encode()))
    return {"type": "http.response.start", "status": response.status, "headers": headers}


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
