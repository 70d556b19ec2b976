"""The pools as the router sees them: where to send a call, how many are there, whether anybody answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from policies import decide
from policies.speedup import StepCost
from replicas.frames import Call, Frame, ReplicaBusyError, ReplicaError
from replicas.profiles import Profile

_log = logging.getLogger(__name__)

_FAILED_POLLS = 3


class PoolClient(Protocol):
    """One way to reach a pool's replicas."""

    def serve(self, call: Call) -> AsyncGenerator[Frame, None]:
        """Frames of one call; closing the generator cancels it.

        Raises ReplicaError when no replica answers.
        """
        ...

    async def status(self) -> dict[str, Any]:
        """A replica's own account of itself."""
        ...


@dataclass(slots=True)
class PoolState:
    """What is known of one pool."""

    profile: Profile
    client: PoolClient
    available: bool = False
    in_flight: int = 0
    failed_polls: int = 0
    status: dict[str, Any] | None = None
    last_error: str | None = None

    def snapshot(self) -> decide.Pool:
        """The pool as a decision sees it."""
        cost = self.profile.step_cost
        return decide.Pool(
            profile=self.profile.name,
            max_k=self.profile.k,
            step_cost=StepCost(cost.verify, cost.per_token, cost.per_draft_token),
            available=self.available,
            in_flight=self.in_flight,
            capacity=self.profile.max_num_seqs * self.profile.replicas,
        )


class Pools:
    """All pools, their in-flight counts and their availability."""

    def __init__(self, clients: Sequence[tuple[Profile, PoolClient]], *, poll_timeout_s: float = 5.0) -> None:
        self._states = {profile.name: PoolState(profile, client) for profile, client in clients}
        self._poll_timeout_s = poll_timeout_s

    def __iter__(self) -> Iterator[PoolState]:
        return iter(self._states.values())

    def snapshot(self) -> tuple[decide.Pool, ...]:
        """All pools as a decision sees them."""
        return tuple(state.snapshot() for state in self._states.values())

    @property
    def ready(self) -> bool:
        """Whether at least one pool can answer."""
        return any(state.available for state in self._states.values())

    async def serve(self, profile: str, call: Call) -> AsyncGenerator[Frame, None]:
        """Frames of one call to a pool, counted in flight until the generator is closed.

        Raises ReplicaError; the pool then counts as away until a poll succeeds, unless it is only busy.
        """
        state = self._states[profile]
        state.in_flight += 1
        try:
            async with aclosing(state.client.serve(call)) as frames:
                async for frame in frames:
                    yield frame
        except ReplicaBusyError:
            raise
        except ReplicaError as error:
            self._lost(state, str(error))
            raise
        finally:
            state.in_flight -= 1

    async def poll(self) -> None:
        """Ask every pool for its status, once."""
        await asyncio.gather(*(self._poll(state) for state in self._states.values()))

    async def watch(self, interval_s: float, sleep: Callable[[float], Any] = asyncio.sleep) -> None:
        """Poll for as long as the task lives."""
        while True:
            await self.poll()
            await sleep(interval_s)

    async def _poll(self, state: PoolState) -> None:
        try:
            async with asyncio.timeout(self._poll_timeout_s):
                state.status = await state.client.status()
        except (ReplicaError, TimeoutError) as error:
            state.failed_polls += 1
            # A pool that was just seen working may only be busy; one that never answered is not there.
            if state.failed_polls >= _FAILED_POLLS or not isinstance(error, TimeoutError):
                self._lost(state, str(error) or "no answer")
            return
        except Exception as error:  # noqa: BLE001 - see below
            # A watch that ended would silently leave every pool as it is; the next round may work.
            _log.exception("pool %s: unexpected answer to a poll", state.profile.name)
            self._lost(state, f"{type(error).__name__}: {error}")
            return
        if not state.available:
            _log.info("pool %s is ready", state.profile.name)
        state.available, state.failed_polls, state.last_error = True, 0, None

    def _lost(self, state: PoolState, error: str) -> None:
        if state.available:
            _log.warning("pool %s cannot answer: %s", state.profile.name, error)
        state.available = False
        state.last_error = error
