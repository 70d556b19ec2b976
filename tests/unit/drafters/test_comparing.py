"""The paired comparison: what it must say whatever the counts, and that its intervals hold what they promise."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drafters.comparing import Comparison, Difference, Paired, compare
from drafters.measuring import Counts

pytestmark = pytest.mark.unit

K: Final = 3


@st.composite
def counts(draw: st.DrawFn) -> Counts:
    """What a drafter may do on one answer: accepted drafts never exceed reached ones, nor the next position them."""
    runs = draw(st.lists(st.integers(0, K), min_size=1, max_size=8))
    found = Counts.of(K)
    for run in runs:
        for position in range(min(run + 1, K)):
            found.reached[position] += 1
            found.accepted[position] += position < run
        found.steps += 1
        found.tokens += run + 1
    return found


PAIRS = st.lists(
    st.builds(Paired, st.sampled_from(["a", "b", "c", "d", "e"]), counts(), counts()), min_size=1, max_size=12
)
FEW = settings(max_examples=25, deadline=None)


def figures(found: Comparison) -> tuple[Difference, ...]:
    """All figures of a comparison."""
    return found.length, *found.alpha_by_position


@FEW
@given(pairs=PAIRS)
def test_a_drafter_is_not_better_than_itself(pairs: list[Paired]) -> None:
    """Not by a hair, with no doubt about it."""
    found = compare([replace(pair, new=pair.old) for pair in pairs])
    assert not found.is_better(0.0)
    for one in figures(found):
        assert one.old == one.new
        assert one.gain in {0.0, None}
        assert (one.low, one.high) in {(0.0, 0.0), (None, None)}


@FEW
@given(pairs=PAIRS)
def test_who_is_called_new_changes_the_sign_only(pairs: list[Paired]) -> None:
    """The same draws, the other way round."""
    found = compare(pairs)
    turned = compare([Paired(pair.family, pair.new, pair.old) for pair in pairs])
    for one, other in zip(figures(found), figures(turned), strict=True):
        assert (one.old, one.new) == (other.new, other.old)
        assert one.gain == pytest.approx(None if other.gain is None else -other.gain)
        assert one.low == pytest.approx(None if other.high is None else -other.high)


@FEW
@given(pairs=PAIRS, order=st.randoms(use_true_random=False))
def test_the_order_of_answers_says_nothing(pairs: list[Paired], order: random.Random) -> None:
    """Nor which answers of a conversation came first."""
    shuffled = list(pairs)
    order.shuffle(shuffled)
    for one, other in zip(figures(compare(pairs)), figures(compare(shuffled)), strict=True):
        assert one.gain == pytest.approx(other.gain)
        assert one.low == pytest.approx(other.low)


@FEW
@given(pairs=PAIRS)
def test_figures_are_ratios_of_sums(pairs: list[Paired]) -> None:
    """No average of averages; more confidence never narrows an interval."""
    total = Counts.of(K)
    for pair in pairs:
        total.add(pair.new)
    found = compare(pairs, confidence=0.8)
    assert found.length.new == pytest.approx(total.acceptance_length)
    assert [one.new for one in found.alpha_by_position] == pytest.approx(total.conditional)
    assert (found.answers, found.families) == (len(pairs), len({pair.family for pair in pairs}))
    surer = compare(pairs, confidence=0.99)
    for one, other in zip(figures(found), figures(surer), strict=True):
        if one.low is not None and one.high is not None:
            assert other.low is not None
            assert other.high is not None
            assert other.low <= one.low <= one.high <= other.high


def steps(chance: random.Random, rate: float, number: int) -> Counts:
    """Steps whose drafts are accepted at this rate."""
    found = Counts.of(K)
    for _ in range(number):
        run = 0
        while run < K and chance.random() < rate:
            run += 1
        for position in range(min(run + 1, K)):
            found.reached[position] += 1
            found.accepted[position] += position < run
        found.steps += 1
        found.tokens += run + 1
    return found


def test_equal_drafters_are_rarely_called_better() -> None:
    """Where conversations differ far more than drafters do: in 2.5 % of trials, twice that allowed for."""
    chance = random.Random(7)
    wrong = 0
    for trial in range(120):
        pairs = []
        for family in range(24):
            rate = chance.betavariate(2, 2)
            pairs += [Paired(f"{family}", steps(chance, rate, 12), steps(chance, rate, 12)) for _ in range(2)]
        wrong += compare(pairs, seed=trial).is_better(0.0)
    assert wrong <= 120 * 0.05 + 3


def test_a_clear_gain_is_found_and_a_margin_is_asked_for() -> None:
    """0.3 to 0.6 per position is more than half a token a step, never a whole one."""
    chance = random.Random(3)
    pairs = [Paired(f"{n}", steps(chance, 0.3, 30), steps(chance, 0.6, 30)) for n in range(24)]
    found = compare(pairs)
    assert found.is_better(0.0)
    assert found.is_better(0.4)
    assert not found.is_better(1.0)
    assert not compare([Paired(pair.family, pair.new, pair.old) for pair in pairs]).is_better(0.0)


def test_what_was_never_reached_is_unknown() -> None:
    """Not zero: no draft at that position says nothing of it."""
    nothing = Counts([1, 0, 0], [0, 0, 0], steps=1, tokens=1)
    found = compare([Paired("a", nothing, nothing)])
    assert found.alpha_by_position[1] == Difference(None, None, None, None, None)
    assert found.document()["length"]["old"] == 1.0
