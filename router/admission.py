"""Lets requests in: at once while engines have slots, else in fair turns, or tells when to come back."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from policies.admission import Cause, Gate, Ticket
from policies.cost.decayed import DecayedRatio
from policies.groups import Limits
from router.background import repeated
from router.errors import ApiError, TooManyRequestsError, UnavailableError
from router.pools import Pools

REFRESH_S: Final = 0.25
_HALF_LIFE_S: Final = 60.0
_NO_ENGINE_RETRY_S: Final = 5


class Slot(NamedTuple):
    """What a request that was let in holds until it ends; times by the admission's timer."""

    ticket: Ticket
    since_s: float
    waited: bool


class Admission:
    """One router's gate: bounded work, shared between tenants as `policies.admission` says.

    The slots are what the available pools can decode at once, less what other routers have there. Requests
    beyond that wait here and not in an engine, so that turns can be fair and a decision is made when there is
    a slot to decide about.
    """

    def __init__(
        self,
        pools: Pools,
        *,
        queue_per_slot: float = 1.0,
        routers: int = 1,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._pools = pools
        self._queue_per_slot = queue_per_slot
        self._at_least = 1.0 / routers
        self._timer = timer
        self._gate = Gate()
        self._turns: dict[Ticket, asyncio.Future[None]] = {}
        self._residence = DecayedRatio(_HALF_LIFE_S)
        self.refused: Counter[Cause] = Counter()
        """Requests that were not let in, or waited in vain, by cause."""

    @property
    def capacity(self) -> int:
        """Slots."""
        return self._gate.capacity

    @property
    def running(self) -> int:
        """Slots taken."""
        return self._gate.running

    @property
    def waiting(self) -> int:
        """Requests that wait for one."""
        return self._gate.waiting

    def residence_s(self) -> float | None:
        """How long a slot is held, on average of the last minutes; None before any was given back."""
        now_s = self._timer()
        return self._residence.toward(0.0, 0.0, now_s) if self._residence.weight(now_s) > 0 else None

    def has_room(self, tenant: str, limits: Limits) -> bool:
        """Whether `enter` would let a request of the tenant in at once."""
        gate = self._gate
        if gate.running >= gate.capacity:
            self.refresh()
        return gate.running < gate.capacity and sum(gate.present(tenant)) < limits.max_concurrency

    async def enter(self, tenant: str, limits: Limits, until_s: float) -> Slot:
        """A slot, which `leave` must give back; waits for it until `until_s` by the event loop's time.

        Raises:
            TooManyRequestsError: The tenant has too much here, or would have to wait for too long.
            UnavailableError: No pool answers.
            TimeoutError: There was no slot in time.
        """
        gate = self._gate
        if gate.running >= gate.capacity:
            self.refresh()
            if not gate.capacity:
                raise _no_engine()
        found = gate.ask(tenant, weight=limits.weight, most=limits.max_concurrency)
        if not isinstance(found, Ticket):
            raise self._refusal(found, tenant, limits)
        if found.granted:
            return Slot(found, self._timer(), waited=False)
        left_s = until_s - asyncio.get_running_loop().time()
        if (self._turn_s(tenant) or 0.0) > left_s:
            error = self._refusal("deadline", tenant, limits)
            self._wake(gate.give_back(found))
            raise error
        await self._turn(found, until_s)
        return Slot(found, self._timer(), waited=True)

    def leave(self, slot: Slot) -> None:
        """Give a slot back; whoever's turn it is gets it."""
        now_s = self._timer()
        self._residence.add(max(0.0, now_s - slot.since_s), 1.0, now_s)
        self._wake(self._gate.give_back(slot.ticket))

    def refresh(self) -> None:
        """See how many slots there are now. Where there is no engine nobody need wait for one."""
        capacity = self._pools.room(at_least=self._at_least)
        self._wake(self._gate.resize(capacity, round(capacity * self._queue_per_slot)))
        if not capacity:
            for turn in self._turns.values():
                if not turn.done():
                    turn.set_exception(_no_engine())

    async def watch(self, sleep: Callable[[float], Any] = asyncio.sleep) -> None:
        """Keep the number of slots fresh for as long as the task lives."""

        async def look() -> None:
            self.refresh()

        await repeated("admission", look, REFRESH_S, sleep)

    async def _turn(self, ticket: Ticket, until_s: float) -> None:
        turn = self._turns[ticket] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout_at(until_s):
                await turn
        except BaseException as error:
            if isinstance(error, TimeoutError):
                self.refused["deadline"] += 1
            # Its turn may have come in the same moment: a ticket is given back whatever became of it.
            self._wake(self._gate.give_back(ticket))
            raise
        finally:
            del self._turns[ticket]

    def _wake(self, granted: Iterable[Ticket]) -> None:
        for ticket in granted:
            turn = self._turns.get(ticket)
            if turn is not None and not turn.done():
                turn.set_result(None)

    def _turn_s(self, tenant: str) -> float | None:
        """When the last in a tenant's line may expect its turn: its slots free once in a residence."""
        residence_s = self.residence_s()
        _, waiting = self._gate.present(tenant)
        return None if residence_s is None else waiting * residence_s / self._gate.slots_of(tenant)

    def _refusal(self, cause: Cause, tenant: str, limits: Limits) -> ApiError:
        self.refused[cause] += 1
        running, waiting = self._gate.present(tenant)
        residence_s = self.residence_s() or 0.0
        if cause == "max_concurrency":
            message = (
                f"tenant {tenant!r} has {running + waiting} requests in flight, limits.max_concurrency is "
                f"{limits.max_concurrency}"
            )
            # There is room for one more as soon as one of its own ends.
            wait_s = residence_s / max(1, running)
        else:
            reasons = {
                "fair_share": f"every slot is taken, and tenant {tenant!r} has its share of the queue",
                "queue_full": "every slot and the queue are full",
                "deadline": "every slot is taken, and the wait would be longer than the deadline",
            }
            message = reasons[cause]
            wait_s = (waiting + 1) * residence_s / self._gate.slots_of(tenant)
        retry_after_s = max(1, math.ceil(wait_s))
        return TooManyRequestsError(f"{message}: retry after {retry_after_s} s", retry_after_s=retry_after_s)


def _no_engine() -> UnavailableError:
    return UnavailableError("no engine is ready; see /readyz", retry_after_s=_NO_ENGINE_RETRY_S)
