"""What a tenant may see and set with its own key: its acceptance, what holds for it, its preferences.

Nothing of anybody else is shown. Rows are those of the tenant's own requests; the totals of its tasks are the
fleet's, from which others' could be told, and are left to the admin API.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from policies.preferences import (
    Preferences,
    PreferencesError,
    check_preferences,
    describe,
    parse_preferences,
    self_service,
)
from policies.problems import format_path
from router.bodies import read_body
from router.errors import BadRequestError, NotAllowedError
from router.policy_source import PolicySource
from router.preferences import TenantPreferences
from router.requests import ANONYMOUS, json_object
from router.tenancy import Tenancy

_MAX_BODY_BYTES: Final = 16 * 2**10
_FORBIDDEN: Final = 403


class AlphaAnswer(Protocol):
    """What the admin API answers about acceptance: `Admin.alpha`."""

    def __call__(self, *, task: str | None = None, tenant: str | None = None) -> Mapping[str, Any]:
        """The rows of a tenant are `entries`."""
        ...


class InvalidPreferencesError(BadRequestError):
    """Preferences that cannot be set; the body lists every problem."""

    status = 422

    def __init__(self, error: PreferencesError) -> None:
        super().__init__(
            "; ".join(map(describe, error.violations)),
            param=format_path(error.violations[0].paths[0]) or None,
        )
        self.problems = [
            {"path": format_path(found.paths[0]), "message": found.message, "hint": found.hint}
            for found in error.violations
        ]

    def body(self) -> dict[str, Any]:
        """OpenAI's error object, and beside it the problems one by one."""
        return {"problems": self.problems, **super().body()}


class TenantApi:
    """Tells whose request it is, and answers what tenants ask about themselves."""

    def __init__(
        self, *, tenancy: Tenancy, preferences: TenantPreferences, policies: PolicySource, alpha: AlphaAnswer
    ) -> None:
        self._tenancy = tenancy
        self._preferences = preferences
        self._policies = policies
        self._alpha = alpha

    def routes(self) -> list[Route]:
        """The tenants' endpoints."""
        return [
            Route("/v1/specroute/alpha", self._own_alpha),
            Route("/v1/specroute/preferences", self._own_preferences, methods=["GET", "PUT", "DELETE"]),
        ]

    def tenant(self, headers: Mapping[str, str]) -> str:
        """Whose request it is, see `Tenancy.tenant`."""
        return self._tenancy.tenant(headers)

    def state(self) -> dict[str, Any]:
        """For operators: whose keys are in force, and what tenants set for themselves."""
        keys = self._tenancy.keys
        return {"keys": keys.state() if keys else None, "preferences": self._preferences.state()}

    async def _own_alpha(self, request: Request) -> Response:
        tenant = self.tenant(lower_case(request))
        query = request.query_params
        if query.get("tenant", tenant) != tenant:
            raise NotAllowedError(
                "tenant: only your own figures are shown", param="tenant", status=_FORBIDDEN
            )
        allowed = self_service(self._policies.policy, tenant)
        return _json(
            {
                "tenant": tenant,
                "entries": self._alpha(task=query.get("task"), tenant=tenant)["entries"],
                "effective": {task: self._effective(tenant, task) for task in self._policies.tasks},
                "preferences": self._preferences.written(tenant),
                "self_service": allowed.model_dump(mode="json", exclude_none=True) if allowed else None,
            }
        )

    def _effective(self, tenant: str, task: str) -> dict[str, Any]:
        policy = self._policies.resolve(tenant=tenant, task=task)
        return {"mode": policy.mode, "threshold": policy.threshold.model_dump(mode="json")}

    async def _own_preferences(self, request: Request) -> Response:
        tenant = self.tenant(lower_case(request))
        if request.method == "PUT":
            await self._put(tenant, request)
        elif request.method == "DELETE":
            await self._preferences.change(
                _owned(tenant), Preferences(), if_match=request.headers.get("if-match")
            )
        else:
            await self._preferences.refresh()  # so that what was set on another router shows here at once
        return _json(self._preferences.written(tenant), {"ETag": self._preferences.etag(tenant)})

    async def _put(self, tenant: str, request: Request) -> None:
        values = json_object(await read_body(request, _MAX_BODY_BYTES))
        policy = self._policies.policy
        if self_service(policy, _owned(tenant)) is None:
            raise NotAllowedError(
                f"tenant {tenant!r} may set nothing for itself: ask the operator for self_service",
                status=_FORBIDDEN,
            )
        try:
            preferences = parse_preferences(values)
            if violations := check_preferences(policy, tenant, preferences):
                raise PreferencesError(violations)  # noqa: TRY301 - refused alike
        except PreferencesError as error:
            raise InvalidPreferencesError(error) from None
        await self._preferences.change(tenant, preferences, if_match=request.headers.get("if-match"))


def lower_case(request: Request) -> dict[str, str]:
    """The request's headers; of repeated ones the last, which a gateway in between put there."""
    return {name.lower(): value for name, value in request.headers.items()}


def _owned(tenant: str) -> str:
    if tenant == ANONYMOUS:
        raise NotAllowedError("preferences belong to a tenant: send its API key", status=_FORBIDDEN)
    return tenant


def _json(value: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(value, headers={"Cache-Control": "no-store", **(headers or {})})
