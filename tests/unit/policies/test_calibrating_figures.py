"""Figures of a calibration: intervals that cover, and ratios prompt by prompt."""

import math
from random import Random

import pytest
from calibrations import answer, answers, drafting, lucky
from hypothesis import given
from hypothesis import strategies as st

from policies.acceptance.design import NO_DESIGN
from policies.calibrating.by_side import counts_of
from policies.calibrating.figures import alpha_of, mean_ratio, rate

pytestmark = pytest.mark.unit


@given(st.integers(0, 500), st.integers(1, 500), st.floats(1, 50), st.floats(0, 100))
def test_a_rate_lies_in_its_interval_and_that_among_chances(
    hits: int, more: int, effect: float, freedom: float
) -> None:
    """Whatever the design effect; the larger that is, the wider the interval."""
    design = NO_DESIGN._replace(effect=effect, freedom=freedom)
    found = rate(hits, hits + more, design)
    assert found is not None
    assert 0 <= found.low <= found.value <= found.high <= 1
    wider = rate(hits, hits + more, design._replace(effect=2 * effect))
    assert wider is not None
    assert wider.high - wider.low >= found.high - found.low - 1e-12


def test_a_rate_of_nothing_is_unknown() -> None:
    """Not 0."""
    assert rate(0, 0, NO_DESIGN) is None
    assert alpha_of({}, reference_k=4) is None


def test_alphas_interval_covers_although_requests_differ() -> None:
    """Of 300 calibrations of 10 prompts whose own alpha varies, at least 84 in 100 intervals of 90 %."""
    rng, covered = Random(5), 0
    for _ in range(300):
        own = [min(0.98, max(0.02, rng.gauss(0.6, 0.12))) for _ in range(10)]
        shown = [
            answer(str(number), drafting(4), lucky(rng, alpha, 4, 30)) for number, alpha in enumerate(own)
        ]
        found = alpha_of(counts_of(shown), reference_k=4)
        assert found is not None
        covered += found.low <= 0.6 <= found.high
    print(f"{covered / 300:.1%} of the intervals cover")
    assert covered / 300 > 0.84


def test_alpha_is_found_again() -> None:
    """From many steps, at the k it is quoted at."""
    many = [one for one in answers(0.7, prompts=60, steps=100) if one.k == 4]
    found = alpha_of(counts_of(many), reference_k=4)
    assert found is not None
    assert found.value == pytest.approx(0.7, abs=0.02)


@given(st.lists(st.floats(0.2, 5), min_size=2, max_size=20))
def test_a_mean_ratio_turned_round_is_one_over_it(ratios: list[float]) -> None:
    """So it does not matter which side is over which; one ratio alone says nothing."""
    found, turned = mean_ratio(ratios), mean_ratio([1 / one for one in ratios])
    assert found is not None
    assert turned is not None
    assert found.value == pytest.approx(1 / turned.value)
    assert found.low == pytest.approx(1 / turned.high)
    assert found.low <= math.exp(sum(map(math.log, ratios)) / len(ratios)) * 1.000001
    assert mean_ratio(ratios[:1]) is None
