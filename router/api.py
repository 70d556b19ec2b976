"""The HTTP surface: OpenAI's endpoints, health, metrics and the admin API."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from router.admin import Admin
from router.admin_canary import CanaryAdmin
from router.admin_policy import PolicyAdmin
from router.capture import Responding
from router.completions import PATHS, Completions
from router.errors import ApiError, BadRequestError, NotFoundError
from router.guards import OperatorGuard
from router.limits import HeadLimits
from router.models import ModelList
from router.openapi import openapi_route
from router.pools import Pools
from router.settings import DeploymentSettings
from router.telemetry import Metrics
from router.telemetry_engines import EngineMetrics
from router.tenant_api import TenantApi, lower_case

_log = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Response]]


class ApiPart(Protocol):
    """Endpoints that stand on their own."""

    def routes(self, guarded: Callable[[Handler], Handler]) -> Sequence[Route]:
        """The endpoints; `guarded` makes a handler check that an operator asks."""
        ...


class _App(Starlette):
    """Starlette, around which the requests to the model go straight to `straight`."""

    def __init__(self, straight: ASGIApp, **options: Any) -> None:
        super().__init__(**options)
        self._straight = straight

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or take part in the server's start and end."""
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in PATHS:
            await self._straight(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


class Api:
    """Builds the ASGI application around a service and `parts`, which bring endpoints of their own."""

    def __init__(
        self,
        *,
        settings: DeploymentSettings,
        service: Responding,
        pools: Pools,
        models: ModelList,
        admin: Admin,
        metrics: Metrics,
        tenants: TenantApi,
        policy: PolicyAdmin,
        canary: CanaryAdmin,
        guard: OperatorGuard,
        engines: EngineMetrics | None = None,
        parts: Sequence[ApiPart] = (),
    ) -> None:
        self._settings = settings
        self._service = service
        self._pools = pools
        self._models = models
        self._admin = admin
        self._metrics = metrics
        self._engines = engines
        self._tenants = tenants
        self._policy = policy
        self._canary = canary
        self._guard = guard
        self._parts = parts

    def app(self) -> Starlette:
        """The application; every error it answers with is an OpenAI error object."""
        completions = Completions(self._settings, self._service, self._metrics, self._tenants)
        routes = [
            *(Route(path, completions, methods=["POST"]) for path in PATHS),
            Route("/v1/models", self._list_models),
            *self._tenants.routes(),
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/metrics", self._prometheus),
            Route("/admin/v1/alpha", self._guarded(self._alpha)),
            Route("/admin/v1/decisions", self._guarded(self._decisions)),
            Route("/admin/v1/replicas", self._guarded(self._replicas)),
            Route("/admin/v1/cost", self._guarded(self._cost)),
            Route("/admin/v1/drift", self._guarded(self._drift)),
            Route("/admin/v1/tenants", self._guarded(self._tenant_state)),
            *self._policy.routes(self._guarded),
            *self._canary.routes(self._guarded),
            openapi_route(),
            *(route for part in self._parts for route in part.routes(self._guarded)),
        ]
        app = _App(
            HeadLimits(completions, self._settings.http),
            routes=routes,
            middleware=[Middleware(HeadLimits, limits=self._settings.http)],
            exception_handlers={ApiError: _api_error, HTTPException: _http_error, Exception: _unexpected},
        )
        # A redirect would name the scheme and the host that the request claims: not what a client should
        # follow with its key when a gateway in between speaks TLS.
        app.router.redirect_slashes = False
        return app

    async def _list_models(self, request: Request) -> Response:
        self._tenants.tenant(lower_case(request))
        return Response(await self._models.body(), media_type="application/json")

    async def _healthz(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _readyz(self, _: Request) -> Response:
        pools = {state.profile.name: state.available for state in self._pools}
        if self._pools.ready:
            return JSONResponse({"status": "ready", "pools": pools})
        return JSONResponse({"status": "starting", "pools": pools}, 503, {"Retry-After": "5"})

    async def _prometheus(self, request: Request) -> Response:
        self._guard.check_metrics(request.headers)
        engines = await self._engines.exposition() if self._engines is not None else b""
        return Response(self._metrics.exposition() + engines, media_type="text/plain; version=0.0.4")

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            self._guard.check_admin(request.headers)
            return await handler(request)

        return guarded

    async def _alpha(self, request: Request) -> Response:
        query = request.query_params
        return JSONResponse(self._admin.alpha(task=query.get("task"), tenant=query.get("tenant")))

    async def _decisions(self, request: Request) -> Response:
        parts = self._admin.decisions.written(request.query_params)
        return StreamingResponse(parts, media_type="application/json")

    async def _replicas(self, _: Request) -> Response:
        return JSONResponse(self._admin.replicas())

    async def _cost(self, _: Request) -> Response:
        return JSONResponse(self._admin.cost())

    async def _drift(self, _: Request) -> Response:
        return JSONResponse(self._admin.drift())

    async def _tenant_state(self, _: Request) -> Response:
        return JSONResponse(self._tenants.state())


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
