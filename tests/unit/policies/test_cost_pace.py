"""How fast calibrated pools are believed to be beside one another."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.cost import Pace, believed_pace, shared_pace

pytestmark = pytest.mark.unit

PACES = st.builds(Pace, st.floats(0.1, 10), st.floats(0, 1e6))


def test_pools_that_are_slow_together_have_that_pace() -> None:
    """A machine half as fast is known by a few steps of whichever pool."""
    assert shared_pace([Pace(2.0, 30), Pace(2.0, 5)]) == pytest.approx(2.0)
    assert shared_pace([Pace(2.0, 30), Pace(1.0, 0)]) == pytest.approx(2.0)
    assert believed_pace(Pace(1.0, 0), 2.0) == 2.0
    assert shared_pace([]) == shared_pace([Pace(3.0, 0), Pace(0.0, 9)]) == 1.0


@given(PACES, PACES)
def test_what_is_believed_lies_between_a_pools_own_pace_and_the_shared_one(own: Pace, other: Pace) -> None:
    """Whatever it is made of."""
    shared = shared_pace([own, other])
    low, high = sorted((own.slower if own.known else shared, shared))
    assert low * (1 - 1e-9) <= believed_pace(own, shared) <= high * (1 + 1e-9)


def test_a_small_difference_is_believed_after_thousands_of_steps_and_a_large_one_at_once() -> None:
    """A few per cent are what a moment does; twice the time is something else."""
    assert believed_pace(Pace(1.05, 100), 1.0) < 1.005
    assert 1.025 < believed_pace(Pace(1.05, 2_885), 1.0) < 1.035, "of steps that halve every 2,000"
    assert believed_pace(Pace(2.0, 200), 1.0) > 1.7


def test_an_idle_pool_that_looked_slow_is_tried_again_and_a_fast_one_stays_fast() -> None:
    """What slows the others meanwhile is theirs."""
    assert believed_pace(Pace(2.0, 500, lately=0.001), 1.0) == pytest.approx(1.0, abs=0.01)
    assert believed_pace(Pace(1.0, 500, lately=0.0), 2.0) < 1.1
    assert shared_pace([Pace(2.0, 500), Pace(1.0, 500, lately=0.0)]) == pytest.approx(2.0, rel=1e-3)


def test_a_night_without_requests_forgets_no_pace() -> None:
    """Both pools are as slow in the morning."""
    assert shared_pace([Pace(2.0, 500, lately=0.0), Pace(2.0, 100, lately=0.0)]) == pytest.approx(2.0)


def test_moments_move_a_comparison_of_two_pools_less_than_they_scatter() -> None:
    """Pools that are as fast as calibrated, each seen in three moments of 60 steps that are off by a tenth."""
    rng = Random(1)
    own_errors, believed_errors = [], []
    for _ in range(2_000):
        pools = [
            Pace(math.exp(sum(rng.gauss(0, 0.1) for _ in range(3)) / 3), 180.0),
            Pace(math.exp(sum(rng.gauss(0, 0.1) for _ in range(3)) / 3), 180.0),
        ]
        shared = shared_pace(pools)
        own_errors.append(math.log(pools[0].slower / pools[1].slower))
        believed = [believed_pace(pool, shared) for pool in pools]
        believed_errors.append(math.log(believed[0] / believed[1]))
    own, believed_error = (
        math.sqrt(sum(error**2 for error in errors) / len(errors)) for errors in (own_errors, believed_errors)
    )
    assert own > 0.07, "else there is nothing to mend"
    assert believed_error < own / 4
