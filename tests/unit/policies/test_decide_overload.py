"""What an arm costs in a pool that gets more than it can do."""

from __future__ import annotations

import pytest
from deciding import NGRAM, accepting, context, policy
from hypothesis import given
from hypothesis import strategies as st

from policies.cost import StepLoad, StepTime
from policies.decide import Pool, Score, Work, decide
from policies.decide.scores import board

pytestmark = pytest.mark.unit

TIME = StepTime(base=0.010, per_request=0.0002, per_drafted=0.0002, per_prefill=0.00005)
LOAD = StepLoad(requests=100, verifying=1.0, drafted=100)
CROWDED = NGRAM._replace(
    step_time=TIME, in_flight=100, capacity=512, work=LOAD, length=150.0, crowding=5.0, overloaded=True
)


def scores(pool: Pool, alpha: float) -> dict[int, Score]:
    found = board(
        context(policy=policy(mode="adaptive"), pools=(pool,), estimates={pool.profile: accepting(alpha)})
    )
    return {score.k: score for score in found.plain + found.drafting}


@given(alpha=st.floats(0, 1), crowding=st.floats(1, 5))
def test_an_overload_is_charged_between_the_others_delay_once_and_multiplied(
    alpha: float, crowding: float
) -> None:
    """Never less than what the arm itself takes from everybody, never more than with no overload."""
    pool = CROWDED._replace(crowding=crowding)
    once, found, balanced = (
        scores(each, alpha) for each in (pool._replace(crowding=1.0), pool, pool._replace(overloaded=False))
    )
    for k, score in found.items():
        assert 0 < once[k].cost_s * (1 - 1e-9) <= score.cost_s <= balanced[k].cost_s * (1 + 1e-9)
    assert found[0].cost_s == pytest.approx(once[0].cost_s)


def test_an_overload_gathers_in_one_pool() -> None:
    """Of two alike that are equally full, the one that is beyond its limit anyway takes the next one too."""
    quick = CROWDED._replace(profile="quick", max_k=0, overloaded=False)
    full = CROWDED._replace(profile="full", max_k=0)
    chosen = decide(
        context(policy=policy(mode="adaptive"), pools=(quick, full), estimates={}, work=Work(500, 100))
    )
    assert chosen.profile == "full"


def test_in_an_overload_drafts_that_cost_capacity_are_still_dear() -> None:
    """What an arm takes beyond plain decoding counts as often as the crowd says."""
    poor = scores(CROWDED, 0.2)
    once = scores(CROWDED._replace(crowding=1.0), 0.2)
    added = {k: poor[k].cost_s - poor[0].cost_s for k in (2, 4)}
    assert all(added[k] > 2 * (once[k].cost_s - once[0].cost_s) > 0 for k in added)
