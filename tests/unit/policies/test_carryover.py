"""What steps counted with one k say of another: requests that differ weigh differently there."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
from drawn import DRAWS, counted, long_run_length
from hypothesis import given
from hypothesis import strategies as st

from policies.acceptance import Curves, Estimate, Prior, estimate, pooled
from policies.acceptance.carryover import carried
from policies.acceptance.estimates import curves_of

pytestmark = pytest.mark.unit

SHARES = st.floats(0.01, 0.99)


def curves(acceptance: float = 0.6, highest: int = 8) -> Curves:
    return curves_of((acceptance,), (1.0,), (0.02,), highest)


def much(draw: str, *, ks: tuple[int, ...] = (4,), tokens: tuple[int, int] = (150, 300)) -> dict[str, float]:
    """The counters of very many requests."""
    return pooled(counted(DRAWS[draw], tasks=60, requests=300, ks=ks, tokens=tokens, seed=len(draw)))


def believed(counts: Mapping[str, float]) -> Estimate:
    return estimate(Prior((0.5,), (1.0,)), [counts], prior_strength=0.01, reference_k=4, max_k=8)


@pytest.mark.parametrize("draw", DRAWS)
def test_lengths_at_another_k_are_those_of_all_requests(draw: str) -> None:
    """Counted at 4, the error at 1 and at 8 is less than half of what pooled rates alone would be wrong by."""
    found = believed(much(draw))
    raw = curves_of(found.acceptance, found.coverage, found.spread, 8)
    for k in (1, 8):
        truth = math.log(long_run_length(draw, k))
        error, before = math.log(found.lengths[k]) - truth, math.log(raw.lengths[k]) - truth
        print(draw, k, f"{before:+.4f} -> {error:+.4f}")
        assert abs(error) < max(0.01, abs(before) / 2)


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("tokens", [(15, 60), (150, 300)], ids=["short", "long"])
def test_where_it_was_counted_short_answers_say_what_long_ones_do(draw: str, tokens: tuple[int, int]) -> None:
    """Of a request's last step less is seen, which weighs more the shorter the answers."""
    found = believed(much(draw, tokens=tokens))
    assert found.lengths[4] == pytest.approx(long_run_length(draw, 4), rel=0.01)


def test_requests_that_are_alike_need_no_correction() -> None:
    """Without correlation any k says the same."""
    before = curves()
    after = carried(before, asked=((4, 1.0),), correlation=0.0, requests=100, steps=2000)
    assert after.lengths == pytest.approx(before.lengths)
    assert after.deviations == pytest.approx(before.deviations)


def test_nothing_counted_is_nothing_to_correct() -> None:
    """A prior says what it says of every k."""
    before = curves()
    assert carried(before, asked=(), correlation=0.3, requests=0.0, steps=0.0) is before


def test_it_is_less_sure_of_a_k_that_was_not_counted() -> None:
    """The correction knows the second order only; where it is large, so may be what is left."""
    before = curves()
    after = carried(before, asked=((4, 1.0),), correlation=0.3, requests=1e6, steps=1e8)
    relative = [deviation / length for deviation, length in zip(after.deviations, after.lengths, strict=True)]
    given = [deviation / length for deviation, length in zip(before.deviations, before.lengths, strict=True)]
    assert relative[4] == pytest.approx(given[4], rel=1e-3)
    assert relative[1] > given[1] * 1.1
    assert relative[8] > given[8] * 1.1
    assert after.lengths[1] > before.lengths[1]
    assert after.lengths[8] < before.lengths[8]


@given(
    st.lists(SHARES, min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(1, 12), SHARES), min_size=1, max_size=4),
    SHARES,
    st.floats(0.01, 1e4),
    st.floats(0.01, 1e5),
)
def test_any_counters_leave_lengths_that_can_be(
    acceptance: list[float],
    asked: list[tuple[int, float]],
    correlation: float,
    requests: float,
    steps: float,
) -> None:
    """No larger k brings fewer tokens, none more than it drafts, and no deviation is lost."""
    before = curves_of(acceptance, (0.9,) * len(acceptance), (0.1,) * len(acceptance), 8)
    after = carried(before, asked=asked, correlation=correlation, requests=requests, steps=steps)
    assert list(after.lengths) == sorted(after.lengths)
    for k in range(9):
        assert 1.0 <= after.lengths[k] <= 1.0 + before.drafted[k] + 1e-9
        assert math.isfinite(after.deviations[k])
        assert after.deviations[k] / after.lengths[k] >= before.deviations[k] / before.lengths[k] - 1e-9
    assert (after.drafted, after.proposing) == (before.drafted, before.proposing)
