"""What is remembered between requests: bounded, aging, and kept apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.memory import TRAFFIC_HALF_LIFE_S, Home, Memory, Recent

pytestmark = pytest.mark.unit


def test_the_longest_unset_is_forgotten_first() -> None:
    """Setting anew counts as new."""
    recent: Recent[str, int] = Recent(3)
    for number, key in enumerate(("a", "b", "c", "a", "d")):
        recent.set(key, number)
    assert [recent.get(key) for key in "abcd"] == [3, None, 2, 4]
    assert len(recent) == 3


def test_a_choice_ages_from_its_last_change() -> None:
    """Repeating it changes nothing; the first one changed nothing either, so it is as old as can be."""
    memory = Memory()
    assert memory.last("acme", "code", 0.0) is None
    memory.settle("acme", "code", "vanilla", 100.0)
    assert memory.last("acme", "code", 100.0) == ("vanilla", float("inf"))
    memory.settle("acme", "code", "speculative", 200.0)
    memory.settle("acme", "code", "speculative", 250.0)
    assert memory.last("acme", "code", 260.0) == ("speculative", 60.0)
    assert memory.last("other", "code", 260.0) is None
    assert memory.last("acme", "sql", 260.0) is None


def test_a_calibrations_route_is_an_old_choice_of_everybodys() -> None:
    """Until a tenant's first request of the task; to leave it then is a change."""
    memory = Memory({"code": "speculative"})
    assert memory.last("acme", "code", 5.0) == ("speculative", float("inf"))
    assert memory.last("acme", "sql", 5.0) is None
    memory.settle("acme", "code", "speculative", 10.0)
    assert memory.last("acme", "code", 12.0) == ("speculative", float("inf"))
    memory.settle("other", "code", "vanilla", 10.0)
    assert memory.last("other", "code", 12.0) == ("vanilla", 2.0)


def test_a_canary_begins_with_what_the_policy_beside_it_settled_on() -> None:
    """From its own first choice on they are apart; without one of the policy's it begins as calibrated."""
    memory = Memory({"code": "speculative"})
    assert memory.last("acme", "code", 5.0, canary=True) == ("speculative", float("inf"))
    memory.settle("acme", "code", "vanilla", 10.0)
    assert memory.last("acme", "code", 15.0, canary=True) == ("vanilla", 5.0)
    memory.settle("acme", "code", "speculative", 20.0, canary=True)
    memory.settle("acme", "code", "vanilla", 30.0)
    assert memory.last("acme", "code", 40.0, canary=True) == ("speculative", 20.0)
    assert memory.last("acme", "code", 40.0) == ("vanilla", 30.0)


def test_a_clock_that_goes_back_makes_nothing_negative() -> None:
    """Ages end at zero, and traffic does not grow by it."""
    memory = Memory()
    memory.settle("acme", "code", "vanilla", 100.0)
    memory.settle("acme", "code", "speculative", 200.0)
    assert memory.last("acme", "code", 50.0) == ("speculative", 0.0)
    assert memory.arrived("code", 100.0) == 0.0
    assert memory.arrived("code", 50.0) == 1.0
    assert memory.arrived("code", 100.0) == 2.0


@given(st.floats(0.01, 10.0))
def test_traffic_is_the_decayed_number_of_requests(per_s: float) -> None:
    """At a steady rate it approaches rate times half-life over ln 2."""
    memory = Memory()
    count = 0.0
    for number in range(int(20 * TRAFFIC_HALF_LIFE_S * per_s)):
        count = memory.arrived("code", number / per_s)
    before_it = 1.0 / (1.0 - 2.0 ** (-1.0 / per_s / TRAFFIC_HALF_LIFE_S)) - 1.0
    assert count == pytest.approx(before_it, rel=0.02)


def test_a_conversation_is_found_while_its_affinity_lasts() -> None:
    """With the tokens its prefix cache should hold, on the pool and the replica that answered last."""
    memory = Memory()
    home = Home("ngram", "replica-1", 900.0)
    memory.said("c1", home, 100.0)
    assert memory.home("c1", 300.0, 400.0) == home
    assert memory.home("c1", 300.0, 401.0) is None
    assert memory.home("c1", 300.0, 99.0) is None
    assert memory.home("c2", 300.0, 100.0) is None
    assert memory.home(None, 300.0, 100.0) is None


def test_conversations_are_forgotten_when_no_affinity_reaches_back() -> None:
    """The longest that anybody asked for counts: a shorter one of somebody else takes nothing away."""
    memory = Memory()
    home = Home("ngram", "replica-1", 900.0)
    for affinity_s in (300.0, 60.0):
        memory.home(None, affinity_s, 0.0)
    for number in range(1000):
        memory.said(f"c{number}", home, float(number))
    assert len(memory._turns) == 301
    assert memory.home("c699", 300.0, 999.0) == home
    assert memory.home("c698", 300.0, 998.0) is None
