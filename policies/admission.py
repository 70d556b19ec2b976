"""Who gets the next free slot when more is asked than can be decoded at once: weighted max-min fairness.

While there is room everybody is admitted. Once all slots are taken, requests wait in a line of their tenant,
and a slot that comes free goes to the waiting tenant with the least running requests per weight. So a tenant
that asks for less than its share gets all it asks for, and the others divide the rest by their weights: the
max-min fair division, in whole slots. Among equals the one that was served longest ago comes first, so that
nobody starves, not even where there are more tenants than slots.

Terms: with weight w of all W that are present, a tenant's share of C slots is C * w / W, and of the Q places
in line Q * w / W, at least one. Who runs and waits for less than its share of the slots may always wait; who
has more may, up to its places in line. Some 2 Q requests wait at most, whoever sends them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

Cause = Literal["max_concurrency", "fair_share", "queue_full", "deadline"]
"""Why a request is not admitted: the tenant's own limit; its places in line are taken, while others want
theirs; the line is full; it would wait, or has waited, beyond its deadline."""


@dataclass(slots=True, eq=False)
class Ticket:
    """One request's claim: granted, or waiting in line."""

    tenant: str
    granted: bool = False


@dataclass(slots=True)
class _Tenant:
    weight: float
    running: int = 0
    line: deque[Ticket] = field(default_factory=deque)

    @property
    def present(self) -> int:
        return self.running + len(self.line)


class Gate:
    """Counts who runs and waits, and says who is next. Knows nothing of time, and only who is present."""

    def __init__(self) -> None:
        self.capacity = 0
        """Slots; more may be taken for a while after it shrank."""
        self.places = 0
        """Q, the places in line that tenants divide among them."""
        self.running = 0
        """Slots taken."""
        self.waiting = 0
        """Requests in line."""
        self._tenants: dict[str, _Tenant] = {}
        self._waiting: dict[str, _Tenant] = {}  # in the order in which they were served last
        self._weights = 0.0

    def resize(self, capacity: int, places: int) -> list[Ticket]:
        """Set the slots and the places in line; who is granted a slot by that."""
        self.capacity, self.places = capacity, places
        return self._grant()

    def ask(self, tenant: str, *, weight: float = 1.0, most: int) -> Ticket | Cause:
        """A ticket, granted while there is room; or why there is none. A tenant has at most `most`.

        `weight` is that of the tenant from now on.
        """
        present = self._tenants.get(tenant)
        if present is not None and present.present >= most:
            return "max_concurrency"
        if self.running < self.capacity and not self.waiting:
            known = self._known(tenant, weight)
            known.running += 1
            self.running += 1
            return Ticket(tenant, granted=True)
        if (cause := self._no_place(present, weight)) is not None:
            return cause
        ticket = Ticket(tenant)
        known = self._known(tenant, weight)
        known.line.append(ticket)
        self._waiting[tenant] = known  # who is in line already keeps its turn
        self.waiting += 1
        return ticket

    def give_back(self, ticket: Ticket) -> list[Ticket]:
        """Return a slot, or leave the line; who is granted a slot by that. Once for every ticket."""
        tenant = self._tenants[ticket.tenant]
        if ticket.granted:
            tenant.running -= 1
            self.running -= 1
        else:
            tenant.line.remove(ticket)
            self.waiting -= 1
            if not tenant.line:
                del self._waiting[ticket.tenant]
        if not tenant.present:
            del self._tenants[ticket.tenant]
            # Sums of what was added and taken away keep a rounding error, that of nobody has none.
            self._weights = self._weights - tenant.weight if self._tenants else 0.0
        return self._grant() if self.waiting else []

    def slots_of(self, tenant: str) -> float:
        """How many slots a tenant is sure to get now, or would be; at most all and at least a part of one."""
        known = self._tenants.get(tenant)
        weight = 1.0 if known is None else known.weight
        share = weight / (self._weights if known else self._weights + weight)
        held = known.running if known else 0
        return max(share * self.capacity, held, 1e-3)

    def present(self, tenant: str) -> tuple[int, int]:
        """How many requests of a tenant run, and how many wait."""
        known = self._tenants.get(tenant)
        return (0, 0) if known is None else (known.running, len(known.line))

    def _known(self, tenant: str, weight: float) -> _Tenant:
        known = self._tenants.get(tenant)
        if known is None:
            known = self._tenants[tenant] = _Tenant(weight)
            self._weights += weight
        elif known.weight != weight:
            self._weights += weight - known.weight
            known.weight = weight
        return known

    def _no_place(self, present: _Tenant | None, weight: float) -> Cause | None:
        if self.waiting >= 2 * self.places:
            return "queue_full"
        total = self._weights + weight - (present.weight if present else 0.0)
        share = weight / total
        running, waiting = (present.running, len(present.line)) if present else (0, 0)
        if running + waiting < share * self.capacity or waiting < max(1.0, share * self.places):
            return None
        return "fair_share" if total > weight else "queue_full"

    def _grant(self) -> list[Ticket]:
        granted = []
        while self.waiting and self.running < self.capacity:
            name, tenant = self._next()
            ticket = tenant.line.popleft()
            ticket.granted = True
            tenant.running += 1
            self.running += 1
            self.waiting -= 1
            del self._waiting[name]
            if tenant.line:
                self._waiting[name] = tenant  # now the one that was served last
            granted.append(ticket)
        return granted

    def _next(self) -> tuple[str, _Tenant]:
        """Who waits with the least running per weight; of several, the one served longest ago."""
        best, least = next(iter(self._waiting)), float("inf")
        for name, tenant in self._waiting.items():
            load = tenant.running / tenant.weight
            if load < least:
                best, least = name, load
            if not load:
                break
        return best, self._waiting[best]
