"""Asks the replicas of a pool how they are: whether anybody answers, and whether the silent ones hang."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from replicas.frames import ReplicaError
from router.pool_state import PoolState

_log = logging.getLogger(__name__)

_FAILED_POLLS: Final = 3
_PROBES: Final = 2
"""Replicas that are asked by name in one poll: of those that are out, and of those that are silent."""


class Poller:
    """Polls pools, one at a time or several at once."""

    def __init__(self, *, timeout_s: float, clock: Callable[[], float]) -> None:
        self._timeout_s = timeout_s
        self._clock = clock

    async def poll(self, state: PoolState) -> bool:
        """Take in what a replica says, and look after those that are out or silent.

        Whether the pool was lost because its engine hangs; what else loses it, `state` knows.
        """
        began_s = self._clock()
        try:
            avoid = state.avoided(began_s)
            async with asyncio.timeout(self._timeout_s):
                status = await (state.client.status(avoid=avoid) if avoid else state.client.status())
            state.note(status, self._clock())
            if state.engines == 1:
                state.silence.alone(str(status.get("replica") or ""))
            half_open = state.replicas.half_open(began_s)[:_PROBES]
            await asyncio.gather(*(self._probe(state, replica) for replica in half_open))
        except ReplicaError as error:
            state.failed_polls += 1
            state.failed(error, self._clock())
        except TimeoutError:
            self._unanswered(state, began_s)
        except Exception as error:  # noqa: BLE001 - see below
            # A watch that ended would silently leave every pool as it is; the next round may work.
            _log.exception("pool %s: unexpected answer to a poll", state.profile.name)
            state.lose(f"{type(error).__name__}: {error}")
        return await self._look_after_silent(state)

    def _unanswered(self, state: PoolState, began_s: float) -> None:
        state.failed_polls += 1
        # One that was just seen working may only be busy; one that never answered is not there.
        if state.last_frame_s >= began_s:
            return
        suspect = state.failed_of_late(began_s) > 0
        if not state.available or suspect or state.failed_polls >= _FAILED_POLLS:
            state.lose("no answer")
            state.give_up_waiting()

    async def _probe(self, state: PoolState, replica: str) -> None:
        """See whether a replica whose time is over works."""
        status = await self._status_of(state, replica)
        if status is None:
            state.replicas.failed(replica, self._clock(), members=state.engines)
        elif status.get("replica") == replica:
            state.replicas.worked(replica, self._clock())
        else:  # it is gone: while it is there, no other answers in its place
            state.replicas.forget(replica)

    async def _look_after_silent(self, state: PoolState) -> bool:
        limit_s = state.silent_limit_s()
        if state.engines > 1:  # the one replica of a pool was asked just now
            silent = state.silence.suspects(state.waiting, self._clock(), limit_s)[:_PROBES]
            await asyncio.gather(*(self._ask(state, replica) for replica in silent))
        now_s = self._clock()
        state.give_up_lost(now_s)
        lost = False
        for replica in state.silence.stuck(state.waiting, now_s, limit_s):
            lost |= state.gave_up(replica, "its engine makes no pass", now_s)
        return lost

    async def _ask(self, state: PoolState, replica: str) -> None:
        """See whether a replica that gives no frames answers."""
        status = await self._status_of(state, replica)
        now_s = self._clock()
        if status is None:
            if state.silence.unanswered(replica):
                state.gave_up(replica, "it does not answer", now_s)
        elif status.get("replica") == replica:
            state.silence.answered(replica, status, now_s)
        else:
            state.silence.forget(replica)

    async def _status_of(self, state: PoolState, replica: str) -> dict[str, Any] | None:
        """None where there is no answer in time, or that of an engine that is gone."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await state.client.status(replica)
        except (ReplicaError, TimeoutError):
            return None
        except Exception:  # noqa: BLE001 - as in `poll`
            _log.exception("pool %s: unexpected answer of replica %s", state.profile.name, replica)
            return None
