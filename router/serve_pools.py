"""Pools behind Ray Serve deployment handles: the only module that knows how Serve fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import Any, Final

from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from replicas.frames import Call, Frame, ReplicaBusyError, ReplicaError, assembled
from replicas.request_router import place

_log = logging.getLogger(__name__)

_END_S: Final = 60.0
"""How long a stream may take to end after its last frame."""


class ServePool:
    """Implements `router.pools.PoolClient` for one deployment."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        # Serve types a response by what it might be; `stream` decides which of the two it is.
        self._stream: Any = handle.options(method_name="serve", stream=True)
        self._status: Any = handle.options(method_name="status")
        self._handle = handle
        self._ending: set[asyncio.Task[None]] = set()

    async def serve(
        self, call: Call, home: str = "", avoid: frozenset[str] = frozenset()
    ) -> AsyncGenerator[Frame, None]:
        """Frames of one call; closing the generator cancels it on the replica.

        They end with the one that has the ending. That Serve's stream is over comes a round later, and is
        nothing that anybody should wait for.

        The replica `home` is tried first, and those to avoid are not, where the pool chooses with
        `replicas.request_router`.

        Raises ReplicaError when the replica or its engine is gone, ReplicaBusyError when the queue is full.
        An error of the replica's code is a RayTaskError, since another replica would make it too.
        """
        response = _placed(self._stream, home, avoid).remote(call)
        complete = False
        try:
            async for parts in response:
                frame = assembled(parts)
                if frame.ending is not None:
                    complete = True
                    self._let_end(response)
                yield frame
                if complete:
                    return
            complete = True
        except (RayError, RayServeException) as error:
            raise _translated(error) from error
        finally:
            if not complete:
                response.cancel()

    async def status(self, home: str = "", avoid: frozenset[str] = frozenset()) -> dict[str, Any]:
        """One replica's account of itself; see `PoolClient.status`."""
        response = _placed(self._status, home, avoid, only=bool(home)).remote()
        try:
            result: dict[str, Any] = await response
        except (RayError, RayServeException) as error:
            raise _gone(error) from error
        except asyncio.CancelledError:
            response.cancel()
            raise
        return result

    async def expect(self, router: str, demand: float, limit_s: float) -> int:
        """See `router.scaling.ScaledPool`. Replicas that cannot be reached do not count."""
        answers = await self._told("expect", router, demand, limit_s=limit_s)
        if not (reached := sum(not isinstance(answer, Exception) for answer in answers)):
            raise ReplicaError("no replica answers")
        return reached

    async def drafters(self, limit_s: float) -> list[dict[str, Any]]:
        """See `router.renewing.RenewablePool`."""
        return [answer for answer in await self._told("drafter", limit_s=limit_s) if isinstance(answer, dict)]

    async def renew(self, replica: str, drain_s: float, limit_s: float) -> bool:
        """See `router.renewing.RenewablePool`."""
        return any(answer is True for answer in await self._told("renew", replica, drain_s, limit_s=limit_s))

    def _let_end(self, response: Any) -> None:
        task = asyncio.create_task(_read_out(response), name="end-of-stream")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _told(self, method: str, *given: Any, limit_s: float) -> list[Any]:
        """What all replicas answer; of one that cannot be reached an exception. None are there: nothing."""
        try:
            return await self._handle.broadcast(method, *given).results_async(
                timeout_s=limit_s, return_exceptions=True
            )
        except (RayError, RayServeException, TimeoutError) as error:
            raise _gone(error) from error


async def _read_out(response: Any) -> None:
    """Read a stream to its end, of which all frames are there: dropped before, Serve would cancel it."""
    try:
        async with asyncio.timeout(_END_S):
            async for _ in response:
                pass
    except Exception as error:  # noqa: BLE001 - its answer is complete, and polls tell how the replica is
        _log.debug("a stream whose answer is complete did not end: %s", error)
        response.cancel()


def _placed(handle: Any, home: str, avoid: frozenset[str], *, only: bool = False) -> Any:
    # A handle with an option more is made in 5 µs.
    return handle.options(session_id=place(home, avoid, only=only)) if home or avoid else handle


def _translated(error: Exception) -> Exception:
    if isinstance(error, BackPressureError):
        return ReplicaBusyError(str(error))
    if isinstance(error, RayTaskError) and not isinstance(error.cause, ReplicaError):
        return error
    return _gone(error)


def _gone(error: Exception) -> ReplicaError:
    """A replica that lives says who it is; of a dead one Ray tells the actor."""
    cause = error.cause if isinstance(error, RayTaskError) else None
    return ReplicaError(
        _last_line(error),
        replica=cause.replica if isinstance(cause, ReplicaError) else "",
        process=error.actor_id or "" if isinstance(error, RayActorError) else "",
    )


def _last_line(error: Exception) -> str:
    """Ray's messages hold whole tracebacks; what happened stands at their end."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
