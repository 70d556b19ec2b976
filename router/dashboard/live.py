"""`GET /admin/v1/live`: what the dashboard shows, as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from policies.problems import choices_hint
from router.dashboard.history import History
from router.dashboard.state import State, View
from router.errors import BadRequestError, UnavailableError

EVERY_S: Final = 2.0
_LIFE_S: Final = 300.0
"""Then a page connects anew: a router that others replace is not held on to."""
_MOST_STREAMS: Final = 32
_RETRY_AFTER_S: Final = 5
_MOST_NAME: Final = 64
_MOST_POINTS: Final = 180
_MOST_POINTS_OF_ALL: Final = 90
_PARAMETERS: Final = ("tenant", "task", "search", "window")
_WINDOWS: Final[Mapping[str, float]] = {"15m": 900.0, "1h": 3600.0, "6h": 21600.0}


class Live:
    """Streams states, every two seconds, and the history whenever it has a new sample.

    Events: `state` (`State.told`), `history` (alpha of all tasks, and all of the task that is looked at), and
    `end` when the stream has lasted five minutes.
    """

    def __init__(
        self,
        state: State,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        life_s: float = _LIFE_S,
    ) -> None:
        self._state = state
        self._sleep = sleep
        self._rounds = max(1, round(life_s / EVERY_S))
        self._open = 0
        self._kept: dict[View, tuple[float, bytes]] = {}

    async def get(self, request: Request) -> Response:
        """The stream; the caller has checked who asks.

        Raises:
            BadRequestError: A parameter cannot be used.
            UnavailableError: Too many streams are open.
        """
        view, window_s = _read(request.query_params)
        if self._open >= _MOST_STREAMS:
            raise UnavailableError(
                f"{_MOST_STREAMS} dashboards are open on this router: close one, or try again",
                retry_after_s=_RETRY_AFTER_S,
            )
        return StreamingResponse(
            self._events(view, window_s),
            headers={
                "Cache-Control": "no-store",
                "X-Content-Type-Options": "nosniff",
                "X-Accel-Buffering": "no",
            },
            media_type="text/event-stream",
        )

    async def _events(self, view: View, window_s: float) -> AsyncGenerator[bytes, None]:
        self._open += 1
        try:
            told = -1
            for number in range(self._rounds):
                if number:
                    await self._sleep(EVERY_S)
                yield self._state_of(view)
                history = self._state.history
                if history.samples != told:
                    told = history.samples
                    yield event("history", _history(history, view, window_s))
            yield event("end", {})
        finally:
            self._open -= 1

    def _state_of(self, view: View) -> bytes:
        """The state's event; pages that look at the same share it, so that a wall of them costs little."""
        now_s = asyncio.get_running_loop().time()
        self._kept = {of: kept for of, kept in self._kept.items() if now_s - kept[0] < EVERY_S / 2}
        if view not in self._kept:
            self._kept[view] = now_s, event("state", self._state.told(view))
        return self._kept[view][1]


def event(name: str, data: Mapping[str, Any]) -> bytes:
    """One server-sent event; JSON has no line breaks of its own."""
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'), allow_nan=False)}\n\n".encode()


def _history(history: History, view: View, window_s: float) -> dict[str, Any]:
    task = view.task
    return {
        "window_s": window_s,
        "alphas": history.alphas(view.tenant, window_s=window_s, most=_MOST_POINTS_OF_ALL),
        "task": history.task(view.tenant, task, window_s=window_s, most=_MOST_POINTS) if task else None,
    }


def _read(given: Mapping[str, str]) -> tuple[View, float]:
    for name, value in given.items():
        if name not in _PARAMETERS:
            raise BadRequestError(f"{name}: unknown parameter; {choices_hint(name, _PARAMETERS)}", param=name)
        if len(value) > _MOST_NAME:
            raise BadRequestError(f"{name}: at most {_MOST_NAME} characters", param=name)
    window = given.get("window", "1h")
    if window not in _WINDOWS:
        hint = choices_hint(window, tuple(_WINDOWS))
        raise BadRequestError(f"window: {window!r} is none; {hint}", param="window")
    view = View(given.get("tenant") or None, given.get("task") or None, given.get("search", "").strip())
    return view, _WINDOWS[window]
