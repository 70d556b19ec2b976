"""The savings report over HTTP: for operators of everybody, for a tenant of itself."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from policies.problems import choices_hint
from policies.savings import Cell, Scope, Sums, report
from policies.units import format_duration, parse_duration
from router.errors import BadRequestError, NotAllowedError
from router.savings import SavingsSync
from router.savings_store import DAY_S, HOUR_S, HOURS_KEPT_S, Counted, Span
from router.stats_protocol import StoreError
from router.tenant_api import lower_case

Handler = Callable[[Request], Awaitable[Response]]
CapacityOf = Callable[[Mapping[Cell, Sums]], Callable[[], Mapping[str, Any]]]
"""Gathers what a capacity statement for the traffic that was counted takes; what makes it of that."""

MAX_WINDOW_S: Final = 35.0 * DAY_S
_DEFAULT_WINDOW_S: Final = 24.0 * HOUR_S
_BY_HOUR_S: Final = HOURS_KEPT_S - DAY_S
"""Longer windows are made of days."""
_FORBIDDEN: Final = 403
_AT_ONCE: Final = 2
"""Reports made at a time: each reads up to a hundred hashes, and threads are there for others too."""
_AWAY: Final = (
    "The store does not answer: these are only the requests that this router has not told it yet. Ask again."
)


class Query(NamedTuple):
    """What is asked for; None stands for all."""

    window_s: float = _DEFAULT_WINDOW_S
    tenant: str | None = None
    task: str | None = None


class SavingsReport:
    """Answers `GET /admin/v1/report`, and `GET /v1/specroute/report` for a tenant's own key."""

    def __init__(
        self,
        sync: SavingsSync,
        *,
        share: Callable[[], float],
        capacity: CapacityOf,
        tenant_of: Callable[[Mapping[str, str]], str],
        clock: Callable[[], float],
    ) -> None:
        """`share` is the holdout share at present, `tenant_of` tells whose request it is by its headers."""
        self._sync = sync
        self._share = share
        self._capacity = capacity
        self._tenant_of = tenant_of
        self._clock = clock
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def routes(self, guarded: Callable[[Handler], Handler]) -> list[Route]:
        """The endpoints; `guarded` makes a handler check that an operator asks."""
        return [
            Route("/admin/v1/report", guarded(self._for_operators)),
            Route("/v1/specroute/report", self._for_tenants),
        ]

    async def answer(self, query: Query, *, with_capacity: bool = True) -> dict[str, Any]:
        """The report: all that this router has counted, and the others up to a moment ago.

        Without the store only what it was not told yet can be reported.
        """
        async with self._turns:
            return await self._answer(query, with_capacity=with_capacity)

    async def _answer(self, query: Query, *, with_capacity: bool) -> dict[str, Any]:
        now_s = self._clock()
        spans = spans_of(query.window_s, now_s)
        counted, store_up = await self._counted(spans)
        cells = counted.cells
        capacity = self._capacity(cells) if with_capacity else None
        scope = Scope(
            window_s=query.window_s,
            since_s=spans[0].begin_s,
            until_s=now_s,
            began_s=counted.began_s if math.isfinite(counted.began_s) else None,
            share=self._share(),
            tenant=query.tenant,
            task=query.task,
            store_up=store_up,
        )
        return await asyncio.to_thread(
            lambda: report(
                cells,
                scope,
                capacity=capacity() if capacity is not None else None,
                notes=() if store_up else (_AWAY,),
            )
        )

    async def _counted(self, spans: list[Span]) -> tuple[Counted, bool]:
        store = self._sync.store
        try:
            if store is not None and await self._sync.flush():
                parts = [await store.read(span) for span in spans]
                return await asyncio.to_thread(_together, parts), True
        except StoreError:
            pass
        since_s = spans[0].begin_s
        unsent = self._sync.buffer.unsent()
        return _together([found for hour, found in unsent.items() if hour * HOUR_S >= since_s]), False

    async def _for_operators(self, request: Request) -> Response:
        return JSONResponse(await self.answer(read_query(request.query_params)))

    async def _for_tenants(self, request: Request) -> Response:
        """A tenant's own figures. Those of its tasks are of its own requests, too."""
        tenant = self._tenant_of(lower_case(request))
        query = read_query(request.query_params)
        if query.tenant not in {None, tenant}:
            raise NotAllowedError(
                "tenant: only your own figures are shown", param="tenant", status=_FORBIDDEN
            )
        # The capacity is the fleet's, from which others' traffic could be told.
        body = await self.answer(query._replace(tenant=tenant), with_capacity=False)
        return JSONResponse(body, headers={"Cache-Control": "no-store"})


def read_query(given: Mapping[str, str]) -> Query:
    """The query that URL parameters describe.

    Raises:
        BadRequestError: Naming the parameter that cannot be used.
    """
    known = ("window", "tenant", "task")
    for name in given:
        if name not in known:
            raise BadRequestError(f"{name}: unknown parameter; {choices_hint(name, known)}", param=name)
    window_s = _DEFAULT_WINDOW_S
    if "window" in given:
        try:
            window_s = parse_duration(given["window"])
        except ValueError as error:
            raise BadRequestError(f"window: {error}; write it like 24h or 7d", param="window") from None
        if window_s > MAX_WINDOW_S:
            raise BadRequestError(f"window: at most {format_duration(MAX_WINDOW_S)} are kept", param="window")
    return Query(window_s, given.get("tenant"), given.get("task"))


def spans_of(window_s: float, now_s: float) -> list[Span]:
    """The hours, or for a long window the days, that a window touches, the earliest first."""
    length_s = HOUR_S if window_s <= _BY_HOUR_S else DAY_S
    return [
        Span(length_s, number)
        for number in range(int((now_s - window_s) // length_s), int(now_s // length_s) + 1)
    ]


def _together(parts: list[Counted]) -> Counted:
    cells: dict[Cell, Sums] = {}
    for part in parts:
        for cell, sums in part.cells.items():
            cells[cell] = cells.get(cell, Sums()) + sums
    return Counted(cells, min((part.began_s for part in parts), default=math.inf))
