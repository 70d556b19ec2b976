"""The gate's arithmetic: nothing is lost, nobody starves, and slots are shared by max-min fairness."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from policies.admission import Gate, Ticket

pytestmark = pytest.mark.unit

TENANTS = ("acme", "globex", "initech", "umbrella")
WEIGHTS = {"acme": 1.0, "globex": 3.0, "initech": 0.1, "umbrella": 1.0}


def gate(capacity: int, places: int | None = None) -> Gate:
    made = Gate()
    made.resize(capacity, capacity if places is None else places)
    return made


def ask(at: Gate, tenant: str, times: int = 1, weight: float = 1.0) -> list[Ticket]:
    """Tickets; those refused are left out."""
    found = [at.ask(tenant, weight=weight, most=1000) for _ in range(times)]
    return [ticket for ticket in found if isinstance(ticket, Ticket)]


def granted(tickets: Sequence[Ticket]) -> list[Ticket]:
    return [ticket for ticket in tickets if ticket.granted]


class Traffic(RuleBasedStateMachine):
    """Arrivals, endings, cancellations and pools that come and go, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = gate(0)
        self.tickets: list[Ticket] = []

    @initialize(capacity=st.integers(0, 6), places=st.integers(0, 8))
    def begin(self, capacity: int, places: int) -> None:
        self.gate.resize(capacity, places)

    @rule(tenant=st.sampled_from(TENANTS), most=st.integers(1, 9))
    def arrive(self, tenant: str, most: int) -> None:
        before = self.gate.present(tenant)
        running, waiting = self.gate.running, self.gate.waiting
        found = self.gate.ask(tenant, weight=WEIGHTS[tenant], most=most)
        if isinstance(found, Ticket):
            assert found.granted == (running < self.gate.capacity)
            assert sum(before) < most
            self.tickets.append(found)
        else:
            assert running >= self.gate.capacity or found == "max_concurrency"
            assert (self.gate.running, self.gate.waiting) == (running, waiting)
            assert self.gate.present(tenant) == before

    @rule(data=st.data())
    def end_or_leave(self, data: st.DataObject) -> None:
        if self.tickets:
            chosen = data.draw(st.integers(0, len(self.tickets) - 1))
            self.gate.give_back(self.tickets.pop(chosen))

    @rule(capacity=st.integers(0, 6), places=st.integers(0, 8))
    def resize(self, capacity: int, places: int) -> None:
        self.gate.resize(capacity, places)

    @invariant()
    def counters_balance(self) -> None:
        running, waiting = (
            sum(ticket.granted for ticket in self.tickets),
            sum(not t.granted for t in self.tickets),
        )
        assert (self.gate.running, self.gate.waiting) == (running, waiting)
        for tenant in TENANTS:
            own = [ticket for ticket in self.tickets if ticket.tenant == tenant]
            assert self.gate.present(tenant) == (len(granted(own)), len(own) - len(granted(own)))

    @invariant()
    def no_slot_is_idle_while_somebody_waits(self) -> None:
        assert not self.gate.waiting or self.gate.running >= self.gate.capacity

    def teardown(self) -> None:
        """When all have left nothing is kept of anybody."""
        self.gate.resize(1, 1)
        while self.tickets:
            self.gate.give_back(self.tickets.pop())
        assert (self.gate.running, self.gate.waiting) == (0, 0)
        assert not self.gate._tenants
        assert not self.gate._waiting
        assert self.gate._weights == 0.0


TestTraffic = Traffic.TestCase


@given(
    capacity=st.integers(1, 40),
    asked=st.lists(
        st.tuples(st.integers(1, 60), st.sampled_from([0.5, 1.0, 2.0, 4.0])), min_size=1, max_size=5
    ),
)
def test_slots_are_divided_by_weighted_max_min(capacity: int, asked: list[tuple[int, float]]) -> None:
    """Whoever wants more has no less per weight than anybody else could do without: to within one slot."""
    at = gate(0, 10_000)
    for number, (count, weight) in enumerate(asked):
        assert len(ask(at, f"t{number}", count, weight)) == count
    at.resize(capacity, 10_000)
    running = [at.present(f"t{number}")[0] for number in range(len(asked))]
    assert sum(running) == min(capacity, sum(count for count, _ in asked))
    for has, (count, weight) in zip(running, asked, strict=True):
        if has < count:  # it waits: nobody was served beyond its level, except by the slot that went past it
            for other, (_, heavy) in zip(running, asked, strict=True):
                assert (other - 1) / heavy <= has / weight


@given(tenants=st.integers(1, 12), capacity=st.integers(1, 4))
def test_nobody_starves(tenants: int, capacity: int) -> None:
    """However many tenants always want more: each is served within as many grants as there are tenants."""
    at = gate(capacity, 10_000)
    served: list[str] = []
    running: list[Ticket] = []
    waiting: list[Ticket] = []
    for number in range(tenants):
        # Weights that differ a thousandfold starve nobody either.
        for ticket in ask(at, f"t{number}", 3, 1000.0 if number % 2 else 1.0):
            (running if ticket.granted else waiting).append(ticket)
    for _ in range(6 * tenants * capacity):
        ended = running.pop(0)
        found = at.give_back(ended)
        again = ask(at, ended.tenant, 1, 1000.0 if ended.tenant[1:] in {"1", "3"} else 1.0)
        served += [ticket.tenant for ticket in found]
        running += found + granted(again)
        waiting += [ticket for ticket in again if not ticket.granted]
    assert (
        set(served[-3 * tenants * capacity :]) == {f"t{number}" for number in range(tenants)} or tenants == 1
    )


def test_who_asks_for_less_than_its_share_goes_first() -> None:
    """A tenant that took all slots and all places gets none of the next ones while a polite one wants them."""
    at = gate(8)
    greedy = ask(at, "greedy", 100)
    assert (len(greedy), at.present("greedy")) == (16, (8, 8))
    polite = ask(at, "polite", 4)
    assert at.present("polite") == (0, 4)
    for ticket in granted(greedy)[:4]:
        at.give_back(ticket)
    assert len(granted(polite)) == 4
    assert at.present("greedy") == (4, 8)


def test_places_in_line_are_shared_too() -> None:
    """Alone a tenant may have them all, beside others its share; in all there are twice as many."""
    at = gate(8, 4)
    ask(at, "greedy", 100)
    assert at.present("greedy") == (8, 4)
    assert at.ask("greedy", most=1000) == "queue_full"
    assert len(ask(at, "polite", 3)) == 3
    assert at.ask("greedy", most=1000) == "fair_share"
    assert len(ask(at, "polite", 100)) == 1  # below its share of the slots until here
    assert (at.ask("polite", most=1000), at.waiting) == ("queue_full", 2 * at.places)


def test_without_places_nobody_waits() -> None:
    """What finds no slot is refused at once."""
    at = gate(1, 0)
    assert len(ask(at, "acme", 5)) == 1
    assert at.ask("globex", most=9) == "queue_full"


def test_a_tenants_own_limit_counts_those_in_line() -> None:
    """And comes before anything else."""
    at = gate(2, 8)
    found = [at.ask("acme", most=3) for _ in range(4)]
    assert found[3] == "max_concurrency"
    assert at.present("acme") == (2, 1)


def test_slots_that_are_added_go_to_those_who_wait() -> None:
    """And slots that are taken away are waited for."""
    at = gate(2)
    tickets = ask(at, "acme", 4)
    assert len(at.resize(3, 3)) == 1
    assert at.resize(1, 1) == []
    assert at.give_back(tickets[0]) == at.give_back(tickets[1]) == []
    assert at.give_back(tickets[2]) == [tickets[3]]
