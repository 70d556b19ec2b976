"""The report's intervals cover what was truly saved, at their confidence, whatever the traffic looks like.

Per shape 300 days of traffic with fixed seeds. Were the seeds drawn anew, an interval that covers 95 % would
fail the bound of 91.5 % with a probability of 0.4 % per shape, and one that covers 88 % would pass it with one
of 3 %.
"""

import numpy as np
import pytest
from simulated_savings import Shape, counted

from policies.savings import NEEDED, Traffic, claim

pytestmark = pytest.mark.unit

SEEDS = 300
LEAST_COVERED = 0.915
ZIPF = tuple(np.array([1 / (1 + rank) for rank in range(12)]) / sum(1 / (1 + rank) for rank in range(12)))
SHAPES = {
    "three tasks": Shape(),
    "skewed lengths, unequal rates": Shape(lengths=1.2, noise=0.3),
    "one in twenty stalls": Shape(stalls=0.05),
    "a rush hour four times as slow": Shape(rush=3.0),
    "a part that does not depend on length": Shape(fixed_s=1.0, lengths=1.0),
    "many small tasks of three tenants": Shape(
        speedups=tuple(0.9 + 0.1 * task for task in range(12)), mix=ZIPF, tenants=3, noise=0.2
    ),
    "the share was raised while it grew slow": Shape(shares=(0.03, 0.1), slowdown=2.0),
    "nothing is gained": Shape(speedups=(1.0, 1.0, 1.0), noise=0.2),
}


@pytest.mark.parametrize("name", SHAPES)
def test_intervals_cover_the_true_saving(name: str) -> None:
    """Of the claims that are made; how many are, and how wide they are, is printed.

    Completion takes both arms a fixed time longer, so the same is saved of it.
    """
    covered, completed, claims, halves, wrong = 0, 0, 0, [], 0
    for seed in range(SEEDS):
        day = counted(SHAPES[name], seed)
        found = claim(day.cells, Traffic(86_400.0, 0.05), confidence=0.95)
        if found.decode is None:
            assert found.verdict == "not_enough_evidence"
            continue
        low, high = found.decode.saved_s_interval
        claims += 1
        covered += low <= day.saved_s <= high
        assert found.completion is not None
        completed += (
            found.completion.saved_s_interval.low <= day.saved_s <= found.completion.saved_s_interval.high
        )
        wrong += (found.verdict == "saved" and day.saved_s <= 0) or (
            found.verdict == "slower" and day.saved_s >= 0
        )
        halves.append((high - low) / 2 / found.decode.vanilla_s)
    print(
        f"{name}: {covered / claims:.1%} of {claims} claims covered ({completed / claims:.1%} of completion "
        "time), half an interval "
        f"{np.mean(halves):.1%} of the plain time"
    )
    assert claims >= SEEDS / 3
    assert min(covered, completed) >= LEAST_COVERED * claims
    assert wrong <= 0.05 * claims


def test_too_few_held_out_requests_are_refused() -> None:
    """On every one of 100 days there is no figure, and what it takes is said."""
    for seed in range(100):
        day = counted(Shape(requests=900), seed)
        assert day.held_out < NEEDED
        found = claim(day.cells, Traffic(86_400.0, 0.05), confidence=0.95)
        assert (found.verdict, found.decode, found.completion) == ("not_enough_evidence", None, None)
        assert found.note.startswith(f"{day.held_out} requests held out of at least {NEEDED}")
        assert found.hours_to_tell == pytest.approx((NEEDED - day.held_out) / (0.05 * 900 / 24))
