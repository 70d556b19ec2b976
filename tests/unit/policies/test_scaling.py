"""How many engines a pool needs: bounds, monotony, calm, and what counts as demand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.decide import Decision, Reason
from policies.decide.context import Score
from policies.scaling import SLACK, PoolDemands, PoolLoad, Sizing, plain_s

pytestmark = pytest.mark.unit

DEMANDS = st.floats(0.0, 1e6)
PLAIN, DRAFTING = PoolLoad(0, drafts=False), PoolLoad(0, drafts=True)


@st.composite
def sizings(draw: st.DrawFn) -> Sizing:
    least = draw(st.integers(1, 20))
    return Sizing(
        slots=draw(st.integers(1, 256)),
        target_load=draw(st.floats(0.05, 1.0)),
        least=least,
        most=draw(st.integers(least, 60)),
    )


def score(profile: str, k: int, **changes: float) -> Score:
    values: dict[str, Any] = {
        "cost_s": 1.0,
        "spread": 0.0,
        "wait_s": 0.0,
        "ttft_s": 1.0,
        "decode_s": 3.0,
        "length": 2.0 if k else 1.0,
        "drafted": float(k),
        "proposing": float(k > 0),
    }
    return Score(profile=profile, k=k, meets_objective=True, measured=True, **(values | changes))


def decision(profile: str, k: int = 0, *compared: Score) -> Decision:
    return Decision(profile, k, Reason.MODE, score=score(profile, k), scores=compared)


def steadily(demands: PoolDemands, *decisions: Decision, seconds: int = 120) -> float:
    """Each of them once a second; the time at the end."""
    for second in range(seconds):
        for one in decisions:
            demands.decided(one, float(second))
    return float(seconds)


@given(sizings(), DEMANDS, st.integers(1, 100))
def test_a_pool_stays_within_its_bounds(sizing: Sizing, demand: float, now: int) -> None:
    """Whatever is asked, and however many engines there are."""
    assert sizing.least <= sizing.engines(demand, now) <= sizing.most


@given(sizings(), DEMANDS, DEMANDS, st.integers(1, 60))
def test_more_demand_never_means_fewer_engines(sizing: Sizing, one: float, other: float, now: int) -> None:
    """Monotone in demand."""
    less, more = sorted((one, other))
    assert sizing.engines(less, now) <= sizing.engines(more, now)


@given(sizings(), DEMANDS, st.integers(1, 60))
def test_engines_are_enough_and_no_more_than_needed(sizing: Sizing, demand: float, now: int) -> None:
    """Within the bounds, they are not busier than the target; one fewer would leave no reserve."""
    found = sizing.engines(demand, now)
    full = sizing.slots * sizing.target_load
    if found < sizing.most:
        assert demand <= found * full * (1 + 1e-6) + 1e-6
    if found > max(sizing.least, 1):
        assert demand >= (found - 1) * full * (1.0 - SLACK) * (1 - 1e-6) - 1e-6


@given(sizings(), DEMANDS, st.integers(1, 60), st.floats(1.0 - SLACK + 1e-6, 1.0))
def test_a_demand_that_trembles_moves_no_engine(sizing: Sizing, demand: float, now: int, part: float) -> None:
    """A pool that has its size keeps it under the same demand, and one that has grown to it under a little less."""
    found = sizing.engines(demand, now)
    assert sizing.engines(demand, found) == found
    if found > now:
        assert sizing.engines(demand * part, found) == found


@given(sizings(), DEMANDS, st.integers(1, 60))
def test_growing_takes_one_look(sizing: Sizing, demand: float, now: int) -> None:
    """A pool that is too small is asked for as many as one that has them already."""
    assert sizing.engines(demand, now) >= sizing.engines(demand, 1)


def test_the_example_of_the_documentation() -> None:
    """Ninety requests at once, 64 slots used to 0.7: three engines; at 80 still three, at 60 two."""
    sizing = Sizing(slots=64, target_load=0.7, least=1, most=8)
    assert sizing.engines(90, 1) == 3
    assert sizing.engines(80, 3) == 3
    assert sizing.engines(60, 3) == 2


def test_work_is_rate_times_stay() -> None:
    """A request a second that stays four seconds: four at once; the other pool has none."""
    demands = PoolDemands()
    now_s = steadily(demands, decision("ngram", 4))
    wanted = demands.wanted({"vanilla": PLAIN, "ngram": DRAFTING}, waiting=0, now_s=now_s)
    assert wanted["ngram"] == pytest.approx(4.0, rel=0.05)
    assert wanted["vanilla"] == 0.0


def test_what_is_in_flight_counts_at_least() -> None:
    """Before there is a forecast, and where requests stay longer than was predicted."""
    pools = {"vanilla": PLAIN._replace(in_flight=7), "ngram": DRAFTING}
    assert PoolDemands().wanted(pools, waiting=0, now_s=0.0) == {"vanilla": 7.0, "ngram": 0.0}


def test_those_in_line_are_shared_out_by_work() -> None:
    """A pool with three quarters of the work gets three quarters of the line; with none known, equal parts."""
    pools = {"vanilla": PLAIN._replace(in_flight=3), "ngram": DRAFTING._replace(in_flight=1)}
    assert PoolDemands().wanted(pools, waiting=8, now_s=0.0) == {"vanilla": 9.0, "ngram": 3.0}
    idle = {"vanilla": PLAIN, "ngram": DRAFTING}
    assert PoolDemands().wanted(idle, waiting=8, now_s=0.0) == {"vanilla": 4.0, "ngram": 4.0}


def test_headroom_is_what_drafted_requests_would_be_plainly() -> None:
    """At most `length` times as long in decoding: 1 + 3 * 2 seconds each; half of it where half is asked."""
    demands = PoolDemands()
    now_s = steadily(demands, decision("ngram", 4))
    for headroom in (0.5, 1.0):
        pools = {"vanilla": PLAIN._replace(headroom=headroom), "ngram": DRAFTING}
        wanted = demands.wanted(pools, waiting=0, now_s=now_s)
        assert wanted["vanilla"] == pytest.approx(7.0 * headroom, rel=0.05)
        assert wanted["ngram"] == pytest.approx(4.0, rel=0.05)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_headroom_only_adds(one: float, other: float, plain: int, drafting: int, waiting: int) -> None:
    """More headroom asks for more plain engines, and takes none from those that draft."""

    def wanted(headroom: float) -> dict[str, float]:
        pools = {
            "vanilla": PoolLoad(plain, drafts=False, headroom=headroom),
            "ngram": PoolLoad(drafting, drafts=True),
        }
        return PoolDemands().wanted(pools, waiting=waiting, now_s=0.0)

    less, more = (wanted(headroom) for headroom in sorted((one, other)))
    assert less["ngram"] == more["ngram"]
    assert plain <= less["vanilla"] <= more["vanilla"] <= plain + waiting + drafting


def test_a_compared_plain_arm_tells_what_plain_decoding_takes() -> None:
    """The quickest of them; without one, the bound."""
    compared = (score("ngram", 0, decode_s=5.0), score("vanilla", 0, decode_s=4.0), score("ngram", 4))
    assert plain_s(decision("ngram", 4, *compared)) == 5.0
    assert plain_s(decision("ngram", 4)) == 7.0
    assert plain_s(decision("vanilla")) == 4.0


def test_an_override_without_a_score_is_no_forecast() -> None:
    """Nothing is known of what it takes; in flight it counts like any other."""
    demands = PoolDemands()
    demands.decided(Decision("vanilla", 0, Reason.OVERRIDE), 0.0)
    assert demands.wanted({"vanilla": PLAIN}, waiting=0, now_s=1.0) == {"vanilla": 0.0}
