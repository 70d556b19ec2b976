"""Averages of one side: intervals that cover, and none where nothing tells."""

import math
from random import Random
from statistics import median

import pytest
from calibrations import answer, drafting, lucky
from hypothesis import given
from hypothesis import strategies as st

from policies.calibrating.averages import length, middle, per_unit, share
from policies.calibrating.by_side import counts_of
from policies.speedup import geometric_length

pytestmark = pytest.mark.unit

TRIALS = 300
FEWEST = 0.85
"""Of 300 intervals of 90 %, so many cover whatever the luck."""

clusters = st.lists(st.tuples(st.floats(0.01, 50), st.integers(1, 90)), min_size=2, max_size=15)


def alphas(rng: Random) -> list[float]:
    """Of ten requests that differ by about 0.12."""
    return [min(0.98, max(0.02, rng.gauss(0.6, 0.12))) for _ in range(10)]


@given(clusters)
def test_time_per_unit_lies_in_its_interval_whatever_unit_it_is_in(
    clusters: list[tuple[float, float]],
) -> None:
    """In milliseconds as in seconds; a cluster alone has no interval, and no time no value."""
    found = per_unit(clusters)
    scaled = per_unit([(1000 * y, x) for y, x in clusters])
    assert found is not None
    assert scaled is not None
    assert scaled.value == pytest.approx(1000 * found.value)
    if found.low is not None and found.high is not None:
        assert 0 <= found.low <= found.value <= found.high
        assert scaled.high == pytest.approx(1000 * found.high)
    alone = per_unit(clusters[:1])
    assert alone is not None
    assert (alone.low, alone.high) == (None, None)
    assert per_unit([]) is per_unit([(0.0, 3.0)]) is None


@pytest.mark.parametrize("size", [2, 8])
def test_the_interval_of_a_time_covers_although_answers_differ(size: int) -> None:
    """In length and in speed; already for two."""
    rng, covered = Random(size), 0
    for _ in range(TRIALS):
        tokens = [rng.randint(20, 64) for _ in range(size)]
        found = per_unit([(n * 20 * math.exp(rng.gauss(0, 0.2) - 0.02), n) for n in tokens])
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 20 <= found.high
    print(f"{covered / TRIALS:.1%} of the intervals cover")
    assert covered / TRIALS > FEWEST


def test_the_interval_of_tokens_per_step_covers_although_requests_differ() -> None:
    """Ten requests whose own acceptance varies."""
    rng, covered, k = Random(7), 0, 4
    fair = [geometric_length(one, k) for _ in range(2000) for one in alphas(rng)]
    truth = sum(fair) / len(fair)
    for _ in range(TRIALS):
        shown = [answer(str(n), drafting(k), lucky(rng, alpha, k, 30)) for n, alpha in enumerate(alphas(rng))]
        found = length(counts_of(shown), k)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        assert 1 <= found.low <= found.value <= found.high <= k + 1
        covered += found.low <= truth <= found.high
    print(f"{covered / TRIALS:.1%} of the intervals cover")
    assert covered / TRIALS > FEWEST


def test_tokens_per_step_of_drafts_that_never_hit_are_not_certain() -> None:
    """A few steps without a hit do not prove that there are none; plain steps have no such figure."""
    found = length(counts_of([answer("a", drafting(4), [0] * 20)]), 4)
    assert found is not None
    assert (found.value, found.low) == (1.0, 1.0)
    assert found.high is not None
    assert found.high > 1.01
    assert length({}, 4) is None
    assert length(counts_of([answer("a", drafting(0))]), 0) is None


def test_a_share_covers_although_requests_differ() -> None:
    """Accepted of proposed tokens; the tokens of a request resemble one another."""
    rng, covered = Random(9), 0
    for _ in range(TRIALS):
        own = [(sum(rng.random() < alpha for _ in range(80)), 80) for alpha in alphas(rng)]
        found = share(own)
        assert found is not None
        covered += found.low <= 0.6 <= found.high
    print(f"{covered / TRIALS:.1%} of the intervals cover")
    assert covered / TRIALS > FEWEST
    assert share([]) is None


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), min_size=1, max_size=9))
def test_a_share_lies_in_its_interval_and_that_among_chances(rows: list[tuple[int, int]]) -> None:
    """Also where all or none were hits."""
    found = share([(float(min(row)), float(max(row))) for row in rows])
    assert found is not None
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=60))
def test_a_median_lies_between_its_order_statistics(values: list[float]) -> None:
    """From five values on."""
    found = middle(values)
    assert found is not None
    assert found.value == median(values)
    assert (found.low is None) == (len(values) < 5)
    if found.low is not None and found.high is not None:
        assert found.low <= found.value <= found.high


@pytest.mark.parametrize(("count", "rank"), [(5, 1), (7, 1), (8, 2), (10, 2), (20, 6)])
def test_the_order_statistics_are_those_of_the_sign_test(count: int, rank: int) -> None:
    """As tables have them for 90 %."""
    found = middle([float(one) for one in range(1, count + 1)])
    assert found is not None
    assert (found.low, found.high) == (rank, count + 1 - rank)
