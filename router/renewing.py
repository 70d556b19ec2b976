"""Engines started anew one by one, so that a pool changes to another drafter while it serves.

`GET /admin/v1/engines` says which drafter every engine has loaded, `POST /admin/v1/engines/renew` lets one of
them end its requests and go. Whoever rolls a pool asks for the next one when the last one is back
(`router.rolling`): nothing of it is kept here, so any router can be asked at any step.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, runtime_checkable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from replicas.frames import ReplicaError
from router.bodies import read_body
from router.errors import BadRequestError, NotFoundError
from router.pool_state import PoolState
from router.pools import Pools

_LIMIT_S: Final = 5.0
_MAX_BYTES: Final = 4096
_CONFLICT: Final = 409

Handler = Callable[[Request], Awaitable[Response]]


@runtime_checkable
class RenewablePool(Protocol):
    """A way to reach every replica of a pool by its name."""

    async def drafters(self, limit_s: float) -> list[dict[str, Any]]:
        """What each says of itself: `{replica, drafter, leaving}`. Raises ReplicaError when none answers."""
        ...

    async def renew(self, replica: str, drain_s: float, limit_s: float) -> bool:
        """Let one make room for its successor; whether it is there. Raises ReplicaError as `drafters`."""
        ...


class Renewals:
    """Handlers of `/admin/v1/engines`. `evidence_of` says which drafter a profile's evidence is of."""

    def __init__(
        self, pools: Pools, *, drain_s: float, evidence_of: Callable[[str], str | None] = lambda _: None
    ) -> None:
        self._pools = pools
        self._drain_s = drain_s
        self._evidence_of = evidence_of

    def routes(self, guarded: Callable[[Handler], Handler]) -> list[Route]:
        """The endpoints; `guarded` makes a handler check that an operator asks."""
        return [
            Route("/admin/v1/engines", guarded(self.engines)),
            Route("/admin/v1/engines/renew", guarded(self.renew), methods=["POST"]),
        ]

    async def engines(self, request: Request) -> Response:
        """Every pool's engines, or those of the pool that `profile` names."""
        wanted = request.query_params.get("profile")
        states = list(self._pools) if wanted is None else [self._state(wanted)]
        return _answer({"pools": [await self._entry(state) for state in states]})

    async def renew(self, request: Request) -> Response:
        """Let one engine end its requests and go; Serve starts its successor."""
        profile, replica = _wanted(await read_body(request, _MAX_BYTES))
        state = self._state(profile)
        found = await self._found(state)
        others = sum(not engine["leaving"] for engine in found if engine["replica"] != replica)
        if not others and not any(pool.available for pool in self._pools if pool is not state):
            raise BadRequestError(
                f"replica {replica} is the only one that answers: nobody would, while its successor starts",
                param="replica",
                status=_CONFLICT,
            )
        client = state.client
        if not isinstance(client, RenewablePool) or not await client.renew(replica, self._drain_s, _LIMIT_S):
            raise NotFoundError(f"{profile} has no replica {replica}: GET /admin/v1/engines lists them")
        return _answer({"profile": profile, "replica": replica, "leaving": True})

    def _state(self, profile: str) -> PoolState:
        for state in self._pools:
            if state.profile.name == profile:
                return state
        known = ", ".join(state.profile.name for state in self._pools)
        raise NotFoundError(f"no pool {profile[:64]!r}; there are: {known}")

    async def _entry(self, state: PoolState) -> dict[str, Any]:
        return {
            "profile": state.profile.name,
            "method": state.profile.method,
            "draft_model": state.profile.draft_model,
            "expected": state.engines,
            "evidence_of": self._evidence_of(state.profile.name),
            "engines": await self._found(state),
        }

    async def _found(self, state: PoolState) -> list[dict[str, Any]]:
        """None where nobody answers now: all are being started."""
        client = state.client
        if not isinstance(client, RenewablePool):
            return []
        try:
            return await client.drafters(_LIMIT_S)
        except (ReplicaError, TimeoutError):
            return []


def _answer(body: dict[str, Any]) -> Response:
    return JSONResponse(body, headers={"Cache-Control": "no-store"})


def _wanted(body: bytes) -> tuple[str, str]:
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        values = None
    if isinstance(values, dict) and values.keys() == {"profile", "replica"}:
        profile, replica = values["profile"], values["replica"]
        if isinstance(profile, str) and isinstance(replica, str):
            return profile, replica
    raise BadRequestError('body: expected {"profile": "<pool>", "replica": "<its name>"} as JSON')
