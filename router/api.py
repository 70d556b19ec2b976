"""The HTTP surface: OpenAI's endpoints, health, metrics and the admin API."""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Awaitable, Callable, Mapping

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from router.admin import Admin
from router.errors import ApiError, BadRequestError, NotAllowedError, NotFoundError
from router.models import ModelList
from router.pools import Pools
from router.requests import read_request
from router.service import RoutingService
from router.settings import DeploymentSettings
from router.telemetry import Metrics

_log = logging.getLogger(__name__)

_ROUTED = ("/v1/chat/completions", "/v1/completions")
_MAX_LISTED = 1000
_TOO_LARGE = 413

Handler = Callable[[Request], Awaitable[Response]]


class Api:
    """Builds the ASGI application around a service."""

    def __init__(
        self,
        *,
        settings: DeploymentSettings,
        service: RoutingService,
        pools: Pools,
        models: ModelList,
        admin: Admin,
        metrics: Metrics,
        admin_token: str | None,
    ) -> None:
        self._settings = settings
        self._service = service
        self._pools = pools
        self._models = models
        self._admin = admin
        self._metrics = metrics
        self._admin_token = admin_token

    def app(self) -> Starlette:
        """The application; every error it answers with is an OpenAI error object."""
        routes = [
            *(Route(path, self._completion, methods=["POST"]) for path in _ROUTED),
            Route("/v1/models", self._list_models),
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/metrics", self._prometheus),
            Route("/admin/v1/alpha", self._guarded(self._alpha)),
            Route("/admin/v1/decisions", self._guarded(self._decisions)),
            Route("/admin/v1/replicas", self._guarded(self._replicas)),
            Route("/admin/v1/cost", self._guarded(self._cost)),
            Route("/admin/v1/drift", self._guarded(self._drift)),
            Route("/admin/v1/policy", self._guarded(self._policy)),
        ]
        return Starlette(
            routes=routes,
            exception_handlers={ApiError: _api_error, HTTPException: _http_error, Exception: _unexpected},
        )

    async def _completion(self, request: Request) -> Response:
        body = await self._body(request)
        routed = read_request(
            request.url.path,
            {name.lower(): value for name, value in request.headers.items()},
            body,
            trust_tenant=self._settings.tenancy.trusted_header,
            tasks=self._service.tasks,
        )
        response = await self._service.respond(routed)
        if response.content_type.startswith("text/event-stream"):
            return StreamingResponse(
                response.body,
                response.status,
                headers=dict(response.headers),
                media_type=response.content_type,
            )
        return Response(
            b"".join([part async for part in response.body]),
            response.status,
            headers=dict(response.headers),
            media_type=response.content_type or "application/json",
        )

    async def _body(self, request: Request) -> bytes:
        limit = self._settings.http.max_body_bytes
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise BadRequestError(f"body: larger than {limit} bytes", status=_TOO_LARGE)
        except ClientDisconnect:
            raise BadRequestError("body: the client went away") from None
        return bytes(body)

    async def _list_models(self, _: Request) -> Response:
        return Response(await self._models.body(), media_type="application/json")

    async def _healthz(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _readyz(self, _: Request) -> Response:
        pools = {state.profile.name: state.available for state in self._pools}
        if self._pools.ready:
            return JSONResponse({"status": "ready", "pools": pools})
        return JSONResponse({"status": "starting", "pools": pools}, 503, {"Retry-After": "5"})

    async def _prometheus(self, _: Request) -> Response:
        return Response(self._metrics.exposition(), media_type="text/plain; version=0.0.4")

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            self._check_admin(request)
            return await handler(request)

        return guarded

    def _check_admin(self, request: Request) -> None:
        if self._admin_token is None:
            if self._settings.http.open_admin:
                return
            raise NotAllowedError(
                "the admin API is closed: set SPECROUTE_ADMIN_TOKEN for the service", status=403
            )
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        # Bytes against bytes, as they came: neither a header nor the environment need be valid UTF-8.
        if not hmac.compare_digest(given.encode("latin-1"), os.fsencode(self._admin_token)):
            raise NotAllowedError("the admin API needs its own token: Authorization: Bearer <token>")

    async def _alpha(self, request: Request) -> Response:
        query = request.query_params
        return JSONResponse(self._admin.alpha(task=query.get("task"), tenant=query.get("tenant")))

    async def _decisions(self, request: Request) -> Response:
        query = request.query_params
        given = query.get("limit", "100")
        if not given.isdecimal() or len(given) > len(str(_MAX_LISTED)) or not 1 <= int(given) <= _MAX_LISTED:
            raise BadRequestError(f"limit: a whole number from 1 to {_MAX_LISTED}", param="limit")
        return JSONResponse(self._admin.decisions(limit=int(given), request_id=query.get("request_id")))

    async def _replicas(self, _: Request) -> Response:
        return JSONResponse(self._admin.replicas())

    async def _cost(self, _: Request) -> Response:
        return JSONResponse(self._admin.cost())

    async def _drift(self, _: Request) -> Response:
        return JSONResponse(self._admin.drift())

    async def _policy(self, _: Request) -> Response:
        return JSONResponse(self._admin.policy())


def _error_response(error: ApiError, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse(error.body(), error.http_status, {**(headers or {}), **error.headers()})


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101 - Starlette dispatches by type
    return _error_response(error)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - Starlette dispatches by type
    if error.status_code == NotFoundError.status:
        return _error_response(NotFoundError(f"{request.method} {request.url.path}: no such endpoint"))
    if error.status_code == 405:  # noqa: PLR2004 - Method Not Allowed
        message = f"{request.url.path}: method {request.method} is not allowed"
        return _error_response(BadRequestError(message, status=405), error.headers)
    return _error_response(BadRequestError(str(error.detail), status=error.status_code))


async def _unexpected(request: Request, error: Exception) -> Response:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _error_response(ApiError("internal error; see the service's log"))
