"""What the passes of a pool work on, from the requests in flight."""

from __future__ import annotations

import pytest
from deciding import context
from hypothesis import given
from hypothesis import strategies as st

from policies.cost import StepLoad
from policies.decide import Work, decide
from policies.inflight import PLAIN, InFlight, Part, part_of

pytestmark = pytest.mark.unit

PARTS = st.builds(
    Part, st.floats(1, 9), st.floats(0, 8), st.integers(0, 8), st.floats(-5, 0), st.floats(0, 8000)
)


def test_a_request_adds_what_its_arm_was_expected_to() -> None:
    """Draft tokens, the chance that any is verified, k, and the middle of its context."""
    decision = decide(context(0.8))
    assert decision.score is not None
    flying = InFlight()
    flying.add(part_of(decision.score, Work(prompt_tokens=100, output_tokens=50)))
    load = flying.load()
    assert (load.requests, load.asked, load.context) == (1, decision.k, 125)
    assert load.drafted == pytest.approx(decision.score.drafted)
    assert load.verifying == pytest.approx(1.0, abs=1e-5)
    assert flying.lengths() == pytest.approx(decision.score.length)


def test_that_none_verifies_takes_all_of_them() -> None:
    """Chances multiply: two requests that draft in half of their steps leave a quarter of the passes plain."""
    flying = InFlight()
    for _ in range(2):
        flying.add(Part(1.5, 1.0, 4, -0.6931471805599453, 0.0))
    assert flying.load().verifying == pytest.approx(0.75)


def test_others_are_taken_to_be_like_ours() -> None:
    """Two of ours and two of another router's work like four; of others alone only the number is known."""
    ours, all_of_them = InFlight(), InFlight()
    part = Part(2.0, 3.0, 4, -0.5, 100.0)
    for flying, count in ((ours, 2), (all_of_them, 4)):
        for _ in range(count):
            flying.add(part)
    assert ours.load(others=2.0) == pytest.approx(all_of_them.load())
    assert ours.lengths(others=2.0) == pytest.approx(all_of_them.lengths())
    assert InFlight().load(others=3.0) == StepLoad(requests=3.0)
    assert InFlight().lengths(others=3.0) == 3.0


@given(st.lists(PARTS, max_size=20), st.randoms(use_true_random=False))
def test_what_leaves_leaves_nothing_behind(parts: list[Part], rng: object) -> None:
    """In whatever order requests end, those that stay are all that counts, and an empty pool is empty."""
    flying, kept = InFlight(), InFlight()
    for part in parts:
        flying.add(part)
    for part in parts[::2]:
        flying.remove(part)
    for part in parts[1::2]:
        kept.add(part)
    assert flying.load() == pytest.approx(kept.load(), abs=1e-6)
    for part in parts[1::2]:
        flying.remove(part)
    assert flying.load() == StepLoad()
    assert flying.lengths() == 0.0


def test_a_plain_request_is_one_token_a_pass() -> None:
    """Also where nothing was scored."""
    assert part_of(None, Work(prompt_tokens=10, output_tokens=20))._replace(context=0.0) == PLAIN
