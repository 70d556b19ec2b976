"""The admin API of adoption: what shadow mode would bring, how a canary fares, and its promotion."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from router.admin_policy import PolicyAdmin
from router.canary_report import comparison_entry, trial_entry
from router.canary_watch import CanaryState, CanaryWatch
from router.errors import BadRequestError
from router.shadow import Shadow

Handler = Callable[[Request], Awaitable[Response]]


class CanaryAdmin:
    """Handlers of `/admin/v1/shadow`, `/admin/v1/canary` and its promotion. The caller checks who asks."""

    def __init__(self, watch: CanaryWatch, shadow: Shadow, policy: PolicyAdmin) -> None:
        self._watch = watch
        self._shadow = shadow
        self._policy = policy

    def routes(self, guarded: Callable[[Handler], Handler]) -> list[Route]:
        """The endpoints; `guarded` makes a handler check who asks."""
        return [
            Route("/admin/v1/shadow", guarded(self.shadow), methods=["GET"]),
            Route("/admin/v1/canary", guarded(self.get), methods=["GET"]),
            Route("/admin/v1/policy/promote", guarded(self.promote), methods=["POST"]),
        ]

    async def shadow(self, _: Request) -> Response:
        """What shadow mode would have brought, as this router predicts it."""
        return JSONResponse(self._shadow.report())

    async def get(self, _: Request) -> Response:
        """The canary: who is tried beside whom, what all routers counted, and the verdict."""
        return JSONResponse(canary_entry(self._watch.state))

    async def promote(self, request: Request) -> Response:
        """Put the candidate in force on all routers, in the place of the policy it was tried beside."""
        state = self._watch.state
        if state.phase in {"off", "broken", "stopped"} or state.trial is None:
            raise BadRequestError(f"there is no candidate to promote: {_why_not(state)}", status=409)
        trial = state.trial
        return await self._policy.promote(trial.candidate, trial.name.main, request)


def canary_entry(state: CanaryState) -> dict[str, Any]:
    """What `GET /admin/v1/canary` tells; keys that there is nothing to say about are null."""
    body: dict[str, Any] = {"phase": state.phase, "why": state.why or None, "stopped": state.stopped}
    if state.trial is not None:
        body |= trial_entry(state.trial)
    if state.comparison is not None:
        body |= comparison_entry(state.comparison)
    return body


def _why_not(state: CanaryState) -> str:
    match state.phase:
        case "stopped" if state.trial is not None:
            return f"{state.trial.candidate.label} was found to be worse; change its file to try again"
        case "broken":
            return state.why
        case "off" if state.why:
            return state.why
    return "the policy in force has no canary"
