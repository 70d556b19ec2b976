"""The pools as the router sees them: where to send a call, how many are there, whether anybody answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

from policies import decide
from policies.cost import Calibrated, shared_pace
from policies.ejection import Ejections
from policies.inflight import PLAIN, Part
from replicas.frames import Call, Frame, ReplicaBusyError, ReplicaError
from replicas.profiles import Profile
from router.background import repeated
from router.costs import PoolCost
from router.polling import Poller
from router.pool_state import SILENCE_S, PoolClient, PoolState
from router.silence import Silence
from router.waiting import Wait

__all__ = ["PoolClient", "PoolState", "Pools"]


class Pools:
    """All pools, their in-flight counts and their availability.

    A failure takes a pool of one replica away until a poll succeeds, and ejects it for a time that grows with
    every ejection (`policies.ejection`): while that lasts it gets no requests though polls succeed, and then
    one at a time until one of them begins. In a pool of several, the same is done to the replica that failed.
    One that hangs fails (`router.silence`).
    """

    def __init__(
        self,
        clients: Sequence[tuple[Profile, PoolClient]],
        *,
        calibration: Mapping[str, Calibrated] | None = None,
        poll_timeout_s: float = 5.0,
        silence_s: float = SILENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        known = calibration or {}
        self._states = {
            profile.name: PoolState(
                profile, client, PoolCost(profile, known.get(profile.name)), silence=Silence(silence_s)
            )
            for profile, client in clients
        }
        self._ejections = Ejections()
        self._poller = Poller(timeout_s=poll_timeout_s, clock=clock)
        self._clock = clock

    def __iter__(self) -> Iterator[PoolState]:
        return iter(self._states.values())

    def snapshot(self, avoid: frozenset[str] = frozenset()) -> tuple[decide.Pool, ...]:
        """All pools as a decision sees them: those to avoid are away, unless there are no others."""
        now_s = self._clock()
        away = self._away(now_s)
        if any(state.available for name, state in self._states.items() if name not in away | avoid):
            away |= avoid
        return tuple(
            state.snapshot(now_s, available=state.available and name not in away)
            for name, state in self._states.items()
        )

    def room(self, *, at_least: float = 0.0) -> int:
        """How many requests of this router the pools that may be used can decode at once.

        What others have there is taken off, but every router keeps the share `at_least`. Answers that are
        complete and wait for slow readers take no room, up to as many as a pool has slots.
        """
        now_s = self._clock()
        return round(
            sum(
                pool.capacity - min(max(beside, -pool.capacity), (1.0 - at_least) * pool.capacity)
                for pool in self.snapshot()
                if pool.available
                for beside in (self._states[pool.profile].beside(now_s),)
            )
        )

    def _away(self, now_s: float) -> frozenset[str]:
        """The pools that answer but are left alone."""
        answering = [name for name, state in self._states.items() if state.available]
        ejected = [name for name in answering if self._ejections.standing(name, now_s) != "in"]
        if not ejected or not self._ejections.calm(len(ejected), members=len(answering)):
            return frozenset()
        return frozenset(
            name
            for name in ejected
            if self._ejections.standing(name, now_s) == "out" or self._states[name].in_flight
        )

    def ejected(self, profile: str) -> list[str]:
        """Which replicas of a pool are left alone now; the profile's own name stands for all."""
        now_s = self._clock()
        whole = [profile] if profile in self._away(now_s) else []
        return whole + sorted(self._states[profile].avoided(now_s))

    @property
    def ready(self) -> bool:
        """Whether at least one pool can answer."""
        return any(state.available for state in self._states.values())

    async def serve(
        self, profile: str, call: Call, part: Part = PLAIN, home: str = ""
    ) -> AsyncGenerator[Frame, None]:
        """Frames of one call to a pool, counted in flight as `part` until the generator is closed.

        `home` names the replica that should answer if it can; in a pool of one that goes without saying.
        Raises ReplicaError, which is held against the replica or its pool unless that is only busy.
        """
        state = self._states[profile]
        several = state.profile.most_replicas > 1
        replica = ""
        wait = Wait(self._clock())
        state.waiting.add(wait)
        state.flying.add(part)
        try:
            avoid = state.avoided(self._clock()) if several else frozenset[str]()
            async with aclosing(state.client.serve(call, home if several else "", avoid)) as frames:
                while (frame := await wait.next_of(frames, self._clock())) is not None:
                    state.last_frame_s = self._clock()
                    if frame.status:
                        replica = wait.replica = frame.replica
                        state.worked(replica, state.last_frame_s)
                        self._ejections.worked(profile, state.last_frame_s)
                    state.silence.framed(replica, state.last_frame_s)
                    yield frame
        except ReplicaBusyError:
            raise
        except ReplicaError as error:
            now_s = self._clock()
            error.replica = replica or error.replica
            if state.failed(error, now_s):
                self._ejections.failed(profile, now_s, members=len(self._states))
            raise
        finally:
            state.waiting.discard(wait)
            state.flying.remove(part)

    async def poll(self) -> None:
        """Ask every pool for its status, once."""
        await asyncio.gather(*(self._poll(state) for state in self._states.values()))
        self._compare_costs()

    async def watch(self, interval_s: float, sleep: Callable[[float], Any] = asyncio.sleep) -> None:
        """Poll for as long as the task lives, each pool by itself: one that hangs holds up no other."""
        async with asyncio.TaskGroup() as group:
            for name, state in self._states.items():
                step = partial(self._look, state)
                group.create_task(repeated(f"pool {name}", step, interval_s, sleep), name=f"watch-{name}")

    async def _look(self, state: PoolState) -> None:
        await self._poll(state)
        self._compare_costs()

    def _compare_costs(self) -> None:
        """What one pool's passes say of another's: all decode the same target."""
        now_s = self._clock()
        plain_s = [
            state.cost.usual_s for state in self._states.values() if state.cost.measured_of_late(now_s)
        ]
        # Where passes vary more than they take, a fit may put all of their time down to something else.
        fastest_s = min((seconds for seconds in plain_s if seconds > 0), default=None)
        paces = [pace for state in self._states.values() if (pace := state.cost.pace(now_s)) is not None]
        shared = shared_pace(paces) if len(paces) == len(self._states) else None
        for state in self._states.values():
            state.believed = state.cost.believed(now_s, fastest_s, shared)

    async def _poll(self, state: PoolState) -> None:
        if await self._poller.poll(state):
            self._ejections.failed(state.profile.name, self._clock(), members=len(self._states))
