"""What the router knows of one pool: its load, its cost, and whether it answers."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from policies import decide
from policies.cost import StepTime
from policies.ejection import Ejections
from policies.inflight import InFlight
from replicas.frames import Call, Frame, ReplicaError
from replicas.profiles import Profile
from router.costs import PoolCost
from router.silence import Silence
from router.waiting import Wait

_log = logging.getLogger(__name__)

LOAD_FRESH_S: Final = 5.0
"""Older reports of a replica's load say nothing of now."""
SILENCE_S: Final = 10.0
"""A call that has no frame for so long makes the router ask whether its replica works."""
_FAILURE_FRESH_S: Final = 10.0
_FOR_THE_COST: Final = frozenset({"step_moments", "rehearsal"})
"""In a replica's status: long, and kept where they are needed."""


class PoolClient(Protocol):
    """One way to reach a pool's replicas."""

    def serve(
        self, call: Call, home: str = "", avoid: frozenset[str] = frozenset()
    ) -> AsyncGenerator[Frame, None]:
        """Frames of one call; closing the generator cancels it.

        If possible they are those of the replica `home`, and not those of one that is to be avoided.

        Raises ReplicaError when no replica answers.
        """
        ...

    async def status(self, home: str = "", avoid: frozenset[str] = frozenset()) -> dict[str, Any]:
        """A replica's own account of itself.

        That of `home` and of no other while the pool has it; else of one that is not to be avoided.
        """
        ...


class _Failure(NamedTuple):
    """Of a replica that is known by its name, or only by its process, or not at all."""

    replica: str
    process: str
    at_s: float


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
    """Whether it answers, as far as polls and calls tell."""
    demand: float | None = None
    """Requests it should be able to decode at once for this router; where it grows and shrinks."""
    flying: InFlight = field(default_factory=InFlight)
    failed_polls: int = 0
    believed: StepTime | None = None
    """Its step time where others' passes have a say in it; see `PoolCost.believed`."""
    status: dict[str, Any] | None = None
    last_error: str | None = None
    reported: dict[str, ReportedLoad] = field(default_factory=dict)
    replicas: Ejections = field(default_factory=Ejections)
    """The standing of each replica, where there are several."""
    last_frame_s: float = float("-inf")
    waiting: set[Wait] = field(default_factory=set)
    """Of the calls in flight."""
    silence: Silence = field(default_factory=lambda: Silence(SILENCE_S))
    _failures: list[_Failure] = field(default_factory=list)
    _engines: int | None = None

    @property
    def engines(self) -> int:
        """How many it has, at least one; of a pool that grows and shrinks as many as there were last."""
        return self._engines or self.profile.fewest_replicas

    @engines.setter
    def engines(self, engines: int) -> None:
        self._engines = engines

    @property
    def step_time(self) -> StepTime:
        """The step time to decide with."""
        return self.believed or self.cost.step_time

    @property
    def capacity(self) -> int:
        """Requests they can decode at once."""
        return self.profile.max_num_seqs * self.engines

    @property
    def in_flight(self) -> int:
        """Requests this router has there."""
        return self.flying.requests

    def others_in_flight(self, now_s: float) -> float:
        """Requests of other routers in this pool, by the replicas' reports of the last seconds.

        What this router had in flight itself at the time of a report is taken off.
        """
        return max(0.0, self.beside(now_s))

    def beside(self, now_s: float) -> float:
        """Requests at the replicas less those this router has in flight, by the reports of the last seconds.

        Negative where answers are complete at the replicas and wait for slow readers. A poll reaches one
        replica, so the mean of those heard of stands for all; 0 where nothing was heard of late.
        """
        fresh = [load for load in self.reported.values() if 0 <= now_s - load.at_s <= LOAD_FRESH_S]
        if not fresh:
            return 0.0
        total = self.engines * sum(load.running for load in fresh) / len(fresh)
        return total - sum(load.own_in_flight for load in fresh) / len(fresh)

    def note(self, status: dict[str, Any], now_s: float) -> None:
        """Take in a replica's account of itself."""
        self.cost.report(status, now_s)
        self.status = {name: value for name, value in status.items() if name not in _FOR_THE_COST}
        running = status.get("running")
        if isinstance(running, int) and running >= 0:
            self.reported = {
                name: load for name, load in self.reported.items() if now_s - load.at_s <= LOAD_FRESH_S
            }
            self.reported[str(status.get("replica"))] = ReportedLoad(running, self.in_flight, now_s)
        replica = str(status.get("replica") or "")
        self.worked(replica, now_s)
        self.silence.answered(replica, status, now_s)
        if not self.available:
            _log.info("pool %s is ready", self.profile.name)
        self.available, self.failed_polls, self.last_error = True, 0, None

    def worked(self, replica: str, now_s: float) -> None:
        """A replica did what it was asked to."""
        self._failures = [
            failure
            for failure in self._failures
            if failure.replica != replica and now_s - failure.at_s <= _FAILURE_FRESH_S
        ]

    def failed(self, error: ReplicaError, now_s: float) -> bool:
        """A replica failed; whether the pool is lost with it.

        One dead replica is not the pool: that is lost when as many failed of late, and did not work since, as
        it has.
        """
        members = self.engines
        self._failures.append(_Failure(error.replica, error.process, now_s))
        if error.replica and members > 1:
            self.replicas.failed(error.replica, now_s, members=members)
        if self.failed_of_late(now_s) < members:
            self.last_error = str(error)
            return False
        self.lose(str(error))
        return True

    def failed_of_late(self, now_s: float) -> int:
        """At least how many of its replicas failed in the last seconds."""
        fresh = [failure for failure in self._failures if now_s - failure.at_s <= _FAILURE_FRESH_S]
        replicas = {failure.replica for failure in fresh if failure.replica}
        processes = {failure.process for failure in fresh if failure.process}
        return max(len(replicas), len(processes), min(1, len(fresh)))

    def lose(self, error: str) -> None:
        """It does not answer."""
        if self.available:
            _log.warning("pool %s cannot answer: %s", self.profile.name, error)
        self.available = False
        self.last_error = error
        self._failures.clear()

    def give_up_waiting(self) -> None:
        """Fail the calls that wait for a pool that answers nothing."""
        for wait in self.waiting:
            wait.give_up()

    def silent_limit_s(self) -> float:
        """How long its calls may wait for a frame before its replicas are asked whether they work."""
        return self.silence.limit_s(self.step_time.plain_s())

    def gave_up(self, replica: str, why: str, now_s: float) -> bool:
        """A replica hangs: its calls go elsewhere, and those that may be there do when they are late.

        Whether the pool is lost with it.
        """
        lost = self.failed(
            ReplicaError(f"{replica or self.profile.name} hangs: {why}", replica=replica), now_s
        )
        _log.warning("pool %s: replica %s hangs: %s", self.profile.name, replica, why)
        self.silence.gave_up(replica, now_s)
        for wait in self.waiting:
            if wait.replica == replica:
                wait.give_up()
        self.give_up_lost(now_s)
        return lost

    def give_up_lost(self, now_s: float) -> None:
        """Fail the calls that may be at a replica that was given up."""
        for wait in self.silence.lost(self.waiting, now_s, self.silent_limit_s()):
            wait.give_up()

    def avoided(self, now_s: float) -> frozenset[str]:
        """The replicas to leave alone now."""
        return self.replicas.away(now_s, members=self.engines)

    def snapshot(self, now_s: float, *, available: bool) -> decide.Pool:
        """The pool as a decision sees it: what others have in flight there is taken to be like ours."""
        others = self.others_in_flight(now_s)
        return decide.Pool(
            profile=self.profile.name,
            max_k=self.profile.k,
            step_time=self.step_time,
            cost_error=self.cost.mean_error,
            drafter_is_model=self.profile.drafter_is_model,
            least_asked=self.profile.least_asked,
            available=available,
            replicas=self.engines,
            in_flight=self.in_flight + round(others),
            capacity=self.capacity,
            work=self.flying.load(others),
            length=self.flying.lengths(others),
        )
