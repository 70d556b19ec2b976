"""The formulas: acceptance length, effective acceptance, speedup, and the worked numbers of the design."""

from __future__ import annotations

import math
from random import Random

import pytest
from drafting import draft_step
from hypothesis import given
from hypothesis import strategies as st

from policies.speedup import (
    StepCost,
    acceptance_length,
    effective_acceptance,
    expected_drafted,
    geometric_length,
    rule_of_thumb_speedup,
    speedup,
    speedups,
    step_time,
    two_model_speedup,
)

pytestmark = pytest.mark.unit

RATES = st.floats(0, 1)
VECTORS = st.lists(RATES, min_size=1, max_size=6)
COSTS = st.builds(StepCost, st.floats(0, 3), st.floats(0, 1), st.floats(0, 1))
FREE = StepCost(0.0, 0.0, 0.0)


def test_the_rule_of_thumb_gives_its_worked_number() -> None:
    """At k = 4 and alpha = 0.75."""
    assert rule_of_thumb_speedup(0.75, 4) == 2.125


def test_four_rounds_with_a_drafter_of_a_sixth_cost_their_worked_number() -> None:
    """12 tokens, 3 a round, k = 4: 4 passes and 16 sixths, 6.7 target passes."""
    per_step = step_time([1.0], 4, StepCost(verify=0.0, per_token=0.0, per_draft_token=1 / 6))
    assert 12 / 3 * per_step == pytest.approx(4 + 16 / 6)


@pytest.mark.parametrize(("k", "rate"), [(1, 0.80), (3, 0.65), (5, 0.54), (7, 0.45)])
def test_constant_acceptance_reads_lower_as_k_grows(k: int, rate: float) -> None:
    """0.80 per token is four different draft acceptance rates."""
    accepted = acceptance_length([0.8], [1.0], k) - 1
    assert accepted / expected_drafted([1.0], k) == pytest.approx(rate, abs=0.005)


@given(st.floats(0, 0.999), st.integers(1, 16), st.floats(0, 1))
def test_two_model_speedup_is_the_geometric_formula(alpha: float, k: int, cost: float) -> None:
    """(1 - alpha^(k+1)) / ((1 - alpha)(1 + k c))."""
    expected = (1 - alpha ** (k + 1)) / ((1 - alpha) * (1 + k * cost))
    assert two_model_speedup(alpha, k, cost) == pytest.approx(expected)


def test_two_model_speedup_knows_perfect_drafts() -> None:
    """Where the closed form divides by zero."""
    assert two_model_speedup(1.0, 4, 0.25) == 2.5


@pytest.mark.parametrize("k", [1, 3, 6])
@pytest.mark.parametrize(
    ("acceptance", "coverage"), [([0.8], [1.0]), ([0.09, 0.75, 1.0], [0.5, 0.95]), ([0.6, 0.9], [0.4])]
)
def test_acceptance_length_matches_draft_and_verify(
    acceptance: list[float], coverage: list[float], k: int
) -> None:
    """The mean tokens per step of 20,000 simulated steps, within four standard errors."""
    rng = Random(k)
    lengths = [1 + draft_step(rng, acceptance, coverage, k)[1] for _ in range(20_000)]
    mean = sum(lengths) / len(lengths)
    error = math.sqrt(sum((length - mean) ** 2 for length in lengths)) / len(lengths)
    assert abs(acceptance_length(acceptance, coverage, k) - mean) < 4 * error


@given(VECTORS, VECTORS, st.integers(0, 12))
def test_acceptance_length_lies_between_one_and_all(
    acceptance: list[float], coverage: list[float], k: int
) -> None:
    """The bonus token is certain; k draft tokens are the most, also beyond the known positions."""
    assert 1 <= acceptance_length(acceptance, coverage, k) <= k + 1


@pytest.mark.parametrize(
    ("acceptance", "coverage", "length"),
    [([1.0], [1.0], 6.0), ([1.0], [0.0], 1.0), ([0.0], [1.0], 1.0), ([], [], 1.0)],
)
def test_acceptance_length_at_the_extremes(
    acceptance: list[float], coverage: list[float], length: float
) -> None:
    """Perfect drafts, none, wrong ones, nothing known."""
    assert acceptance_length(acceptance, coverage, 5) == length


@given(RATES, st.integers(1, 32))
def test_effective_acceptance_inverts_the_geometric_sum(alpha: float, k: int) -> None:
    """The solution of a + ... + a^k = L - 1 is a."""
    assert effective_acceptance(geometric_length(alpha, k), k) == pytest.approx(alpha, abs=1e-9)


@given(st.floats(-5, 40), st.floats(-5, 40), st.integers(0, 32))
def test_effective_acceptance_grows_with_length(first: float, second: float, k: int) -> None:
    """And stays within [0, 1]."""
    low, high = sorted((first, second))
    assert 0 <= effective_acceptance(low, k) <= effective_acceptance(high, k) + 1e-9 <= 1 + 1e-9


@pytest.mark.parametrize("length", [math.nan, -math.inf])
def test_effective_acceptance_of_nonsense_is_zero(length: float) -> None:
    """Never NaN."""
    assert effective_acceptance(length, 4) == 0.0


@given(VECTORS, VECTORS, st.integers(0, 12), COSTS)
def test_all_speedups_at_once_are_the_single_ones(
    acceptance: list[float], coverage: list[float], highest: int, cost: StepCost
) -> None:
    """One pass over k computes E[L_k] / T_k."""
    singly = [speedup(acceptance, coverage, k, cost) for k in range(highest + 1)]
    assert speedups(acceptance, coverage, highest, cost) == pytest.approx(singly)


@given(VECTORS, VECTORS, COSTS)
def test_plain_decoding_has_speedup_one(
    acceptance: list[float], coverage: list[float], cost: StepCost
) -> None:
    """With k = 0 a step costs one and yields one token."""
    assert speedup(acceptance, coverage, 0, cost) == 1.0
    assert speedups([], [], 3, FREE) == [1.0] * 4


def test_verification_costs_only_where_something_was_proposed() -> None:
    """A copying drafter that finds no match leaves a plain step; a model drafter works for every token."""
    cost = StepCost(verify=0.7, per_token=0.01, per_draft_token=0.1)
    assert step_time([0.5, 0.9], 2, cost) == pytest.approx(1 + 0.7 * 0.5 + 0.01 * (0.5 + 0.45) + 0.1 * 2)
    assert step_time([0.0], 4, StepCost(0.7, 0.01, 0.0)) == 1.0
