"""The pools as the router sees them: where to send a call, how many are there, whether anybody answers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from policies import decide
from policies.cost import Calibrated, StepTime
from policies.inflight import PLAIN, InFlight, Part
from replicas.frames import Call, Frame, ReplicaBusyError, ReplicaError
from replicas.profiles import Profile
from router.costs import PoolCost

_log = logging.getLogger(__name__)

_FAILED_POLLS = 3
_LOAD_FRESH_S = 5.0
"""Older reports of a replica's load say nothing of now."""


class PoolClient(Protocol):
    """One way to reach a pool's replicas."""

    def serve(self, call: Call, home: str = "") -> AsyncGenerator[Frame, None]:
        """Frames of one call, if possible of the replica `home`; closing the generator cancels it.

        Raises ReplicaError when no replica answers.
        """
        ...

    async def status(self) -> dict[str, Any]:
        """A replica's own account of itself."""
        ...


class ReportedLoad(NamedTuple):
    """What one replica said of its load, and what this router had in flight in the whole pool then."""

    running: int
    own_in_flight: int
    at_s: float


@dataclass(slots=True)
class PoolState:
    """What is known of one pool."""

    profile: Profile
    client: PoolClient
    cost: PoolCost
    available: bool = False
    flying: InFlight = field(default_factory=InFlight)
    failed_polls: int = 0
    step_time: StepTime | None = None
    status: dict[str, Any] | None = None
    last_error: str | None = None
    reported: dict[str, ReportedLoad] = field(default_factory=dict)

    @property
    def in_flight(self) -> int:
        """Requests this router has there."""
        return self.flying.requests

    def others_in_flight(self, now_s: float) -> float:
        """Requests of other routers in this pool, by the replicas' reports of the last seconds.

        A poll reaches one replica, so the mean of those heard of stands for all. What this router had in
        flight itself at the time of a report is taken off; 0 where nothing was heard of late.
        """
        fresh = [load for load in self.reported.values() if 0 <= now_s - load.at_s <= _LOAD_FRESH_S]
        if not fresh:
            return 0.0
        total = self.profile.replicas * sum(load.running for load in fresh) / len(fresh)
        return max(0.0, total - sum(load.own_in_flight for load in fresh) / len(fresh))

    def note(self, status: dict[str, Any], now_s: float) -> None:
        """Take in a replica's account of itself."""
        self.cost.report(status, now_s)
        self.status = {name: value for name, value in status.items() if name != "step_moments"}
        running = status.get("running")
        if isinstance(running, int) and running >= 0:
            self.reported = {
                name: load for name, load in self.reported.items() if now_s - load.at_s <= _LOAD_FRESH_S
            }
            self.reported[str(status.get("replica"))] = ReportedLoad(running, self.in_flight, now_s)

    def snapshot(self, now_s: float) -> decide.Pool:
        """The pool as a decision sees it: what others have in flight there is taken to be like ours."""
        others = self.others_in_flight(now_s)
        return decide.Pool(
            profile=self.profile.name,
            max_k=self.profile.k,
            step_time=self.step_time or self.cost.step_time,
            cost_error=self.cost.mean_error,
            drafter_is_model=self.profile.drafter_is_model,
            available=self.available,
            replicas=self.profile.replicas,
            in_flight=self.in_flight + round(others),
            capacity=self.profile.max_num_seqs * self.profile.replicas,
            work=self.flying.load(others),
            length=self.flying.lengths(others),
        )


class Pools:
    """All pools, their in-flight counts and their availability."""

    def __init__(
        self,
        clients: Sequence[tuple[Profile, PoolClient]],
        *,
        calibration: Mapping[str, Calibrated] | None = None,
        poll_timeout_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        known = calibration or {}
        self._states = {
            profile.name: PoolState(profile, client, PoolCost(profile, known.get(profile.name)))
            for profile, client in clients
        }
        self._poll_timeout_s = poll_timeout_s
        self._clock = clock

    def __iter__(self) -> Iterator[PoolState]:
        return iter(self._states.values())

    def snapshot(self) -> tuple[decide.Pool, ...]:
        """All pools as a decision sees them."""
        now_s = self._clock()
        return tuple(state.snapshot(now_s) for state in self._states.values())

    @property
    def ready(self) -> bool:
        """Whether at least one pool can answer."""
        return any(state.available for state in self._states.values())

    async def serve(
        self, profile: str, call: Call, part: Part = PLAIN, home: str = ""
    ) -> AsyncGenerator[Frame, None]:
        """Frames of one call to a pool, counted in flight as `part` until the generator is closed.

        `home` names the replica that should answer if it can; in a pool of one that goes without saying.
        Raises ReplicaError; the pool then counts as away until a poll succeeds, unless it is only busy.
        """
        state = self._states[profile]
        state.flying.add(part)
        try:
            home = home if state.profile.replicas > 1 else ""
            async with aclosing(state.client.serve(call, home)) as frames:
                async for frame in frames:
                    yield frame
        except ReplicaBusyError:
            raise
        except ReplicaError as error:
            self._lost(state, str(error))
            raise
        finally:
            state.flying.remove(part)

    async def poll(self) -> None:
        """Ask every pool for its status, once."""
        await asyncio.gather(*(self._poll(state) for state in self._states.values()))
        self._compare_costs()

    async def watch(self, interval_s: float, sleep: Callable[[float], Any] = asyncio.sleep) -> None:
        """Poll for as long as the task lives."""
        while True:
            await self.poll()
            await sleep(interval_s)

    def _compare_costs(self) -> None:
        """What one pool's passes say of another's: all decode the same target."""
        now_s = self._clock()
        fastest_s = min(
            (
                state.cost.step_time.plain_s()
                for state in self._states.values()
                if state.cost.measured_of_late(now_s)
            ),
            default=None,
        )
        for state in self._states.values():
            state.step_time = state.cost.believed(now_s, fastest_s)

    async def _poll(self, state: PoolState) -> None:
        try:
            async with asyncio.timeout(self._poll_timeout_s):
                status = await state.client.status()
            state.note(status, self._clock())
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
