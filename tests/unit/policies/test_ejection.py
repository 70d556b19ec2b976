"""Who is left alone after a failure, for how long, and when nobody is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.ejection import Ejections, EjectionSettings

pytestmark = pytest.mark.unit

SETTINGS = EjectionSettings(base_s=2.0, max_s=10.0)


def fails(ejections: Ejections, name: str, now_s: float, members: int = 4) -> float | None:
    """Fail once; for how long the member is out then."""
    if not ejections.failed(name, now_s, members=members):
        return None
    seconds = 0.0
    while ejections.standing(name, now_s + seconds) == "out":
        seconds += 0.5
    return seconds


def test_a_member_is_out_then_half_open_then_in() -> None:
    """It is seen working only when its time is over; what it did before then says nothing."""
    ejections = Ejections(SETTINGS)
    assert ejections.standing("a", 0.0) == "in"
    assert ejections.failed("a", 0.0, members=2)
    ejections.worked("a", 1.0)
    assert [ejections.standing("a", now_s) for now_s in (0.0, 1.9, 2.0, 50.0)] == ["out", "out"] + [
        "half_open"
    ] * 2
    assert ejections.half_open(2.0) == ["a"]
    ejections.worked("a", 2.0)
    assert ejections.standing("a", 2.0) == "in"


def test_every_ejection_takes_longer_up_to_the_longest() -> None:
    """The base, twice the base, three times the base, and so on."""
    ejections = Ejections(SETTINGS)
    now_s, times = 0.0, []
    for _ in range(7):
        out_s = fails(ejections, "a", now_s)
        assert out_s is not None
        times.append(out_s)
        now_s += out_s
        ejections.worked("a", now_s)
    assert times == [2.0, 4.0, 6.0, 8.0, 10.0, 10.0, 10.0]


def test_failing_half_open_is_the_next_ejection() -> None:
    """Whether or not there is room for one more: it was ejected already."""
    ejections = Ejections(SETTINGS)
    ejections.failed("a", 0.0, members=2)
    assert fails(ejections, "a", 2.0, members=2) == 4.0
    assert ejections.count("a") == 2


def test_requests_that_fail_together_are_one_ejection() -> None:
    """A dead engine fails all its streams at once."""
    ejections = Ejections(SETTINGS)
    assert [ejections.failed("a", 0.1 * n, members=4) for n in range(10)] == [True] + [False] * 9
    assert ejections.count("a") == 1
    assert ejections.standing("a", 2.0) == "half_open"


def test_time_forgives() -> None:
    """One ejection for every max_s that a member was in."""
    ejections = Ejections(SETTINGS)
    for now_s in (0.0, 2.0, 6.0):
        ejections.failed("a", now_s, members=4)
    assert ejections.count("a") == 3
    ejections.worked("a", 12.0)
    ejections.failed("a", 12.0 + 21.0, members=4)
    assert ejections.count("a") == 2
    ejections.worked("a", 40.0)
    ejections.worked("a", 400.0)
    assert ejections.count("a") == 0


def test_no_more_than_a_share_is_ejected_but_one_always_may_be() -> None:
    """Of four, two; of one, one."""
    ejections = Ejections(SETTINGS)
    assert [ejections.failed(name, 0.0, members=4) for name in "abcd"] == [True, True, False, False]
    assert ejections.away(0.0, members=4) == {"a", "b"}
    assert Ejections(SETTINGS).failed("a", 0.0, members=1)


def test_in_a_panic_nobody_is_left_alone() -> None:
    """With less than half left, those that fail sometimes are better than none."""
    ejections = Ejections(SETTINGS)
    for name in "ab":
        ejections.failed(name, 0.0, members=4)
    assert ejections.away(0.0, members=4) == {"a", "b"}
    assert ejections.away(0.0, members=3) == frozenset()
    assert not ejections.calm(1, members=1)


def test_several_failures_in_a_row_may_be_asked_for() -> None:
    """A success in between begins the count anew."""
    ejections = Ejections(SETTINGS._replace(failures=3))
    ejections.failed("a", 0.0, members=4)
    ejections.failed("a", 0.0, members=4)
    ejections.worked("a", 0.0)
    assert [ejections.failed("a", 0.0, members=4) for _ in range(3)] == [False, False, True]


def test_what_is_gone_is_forgotten() -> None:
    """And does not count among the ejected."""
    ejections = Ejections(SETTINGS)
    ejections.failed("a", 0.0, members=2)
    ejections.forget("a")
    assert ejections.standing("a", 0.0) == "in"
    assert ejections.failed("b", 0.0, members=2)


EVENTS = st.lists(
    st.tuples(st.sampled_from("abcde"), st.sampled_from(["failed", "worked", "forget"]), st.floats(0, 15)),
    max_size=60,
)


@given(events=EVENTS, members=st.integers(1, 6))
def test_limits_hold_whatever_happens(events: list[tuple[str, str, float]], members: int) -> None:
    """At most the share is ejected at a time, nobody for longer than the longest, and a panic empties the list."""
    ejections = Ejections(SETTINGS)
    now_s = 0.0
    for name, event, later_s in events:
        now_s += later_s
        if event == "failed":
            ejections.failed(name, now_s, members=members)
        elif event == "worked":
            ejections.worked(name, now_s)
        else:
            ejections.forget(name)
        out = [name for name in "abcde" if ejections.standing(name, now_s) != "in"]
        assert len(out) <= max(1, SETTINGS.max_share * members)
        assert not any(ejections.standing(name, now_s + SETTINGS.max_s) == "out" for name in "abcde")
        away = ejections.away(now_s, members=members)
        assert away in (frozenset(out), frozenset())
        assert members - len(away) >= SETTINGS.panic_below * members
