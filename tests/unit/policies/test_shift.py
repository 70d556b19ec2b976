"""What all tasks have in common: a drafter that is worse than assumed is worse for tasks nobody tried."""

from __future__ import annotations

import math
from random import Random

import pytest
from drafting import simulated_request
from hypothesis import given
from hypothesis import strategies as st

from policies.acceptance import CommonShift, Prior, Shift, common_shift, level, pooled
from policies.acceptance.shift import SHIFT_DEVIATION
from policies.evidence import counters
from policies.priors import prior

pytestmark = pytest.mark.unit


def counted(alpha: float, seed: int, *, coverage: float = 1.0, requests: int = 40) -> dict[str, float]:
    rng = Random(seed)
    return pooled(
        [counters(simulated_request(rng, (alpha,), (coverage,), k=4, tokens=60)) for _ in range(requests)]
    )


def shift_of(alphas: dict[str, float], *, assumed: float = 0.7, requests: int = 40) -> CommonShift:
    return common_shift(
        {
            task: (Prior((assumed,), (1.0,)), level(counted(alpha, seed, requests=requests)))
            for seed, (task, alpha) in enumerate(alphas.items())
        },
        prior_strength=20,
    )


def logit(chance: float) -> float:
    return math.log(chance / (1 - chance))


def test_a_drafter_that_is_generally_worse_lowers_every_prior() -> None:
    """Ten tasks at 0.5 where 0.7 was assumed: an unseen task starts near 0.5, certainties stay certain."""
    found = shift_of({f"task{n}": 0.5 for n in range(10)}).of("unseen")
    assert found.acceptance == pytest.approx(logit(0.5) - logit(0.7), abs=0.15)
    assert found.applied(Prior((0.7,), (1.0,))).acceptance[0] == pytest.approx(0.52, abs=0.03)
    assert found.applied(Prior((0.0, 1.0), (1.0,))) == Prior((0.0, 1.0), (1.0,))


def test_tasks_that_differ_both_ways_have_nothing_in_common() -> None:
    """As many above their priors as below."""
    alphas = {f"task{n}": 0.7 + (0.12 if n % 2 else -0.14) for n in range(10)}
    assert shift_of(alphas).all.acceptance == pytest.approx(0.0, abs=0.15)


def test_one_task_says_little_about_the_others_however_many_requests_it_has() -> None:
    """It may differ by itself: no more than its prior's strength goes into what is common."""
    some, many = shift_of({"code": 0.4}), shift_of({"code": 0.4}, requests=800)
    full = logit(0.4) - logit(0.7)
    assert full < many.all.acceptance < 0.35 * full
    assert many.all.acceptance == pytest.approx(some.all.acceptance, rel=0.35)


def test_a_task_is_not_counted_twice() -> None:
    """What it showed itself comes in at its own level; its prior is moved by the others alone."""
    found = shift_of({"code": 0.3, **{f"task{n}": 0.7 for n in range(6)}})
    assert abs(found.of("code").acceptance) < abs(found.all.acceptance)
    assert shift_of({"code": 0.3}).of("code").acceptance == pytest.approx(0.0, abs=1e-6)


def test_coverage_moves_by_itself() -> None:
    """A copying drafter that proposes more often than assumed, and is right as often."""
    assumed = prior("ngram", "code")
    alpha = assumed.acceptance[0]
    cells = {f"task{n}": counted(alpha, n, coverage=0.6) for n in range(8)}
    found = common_shift(
        {task: (Prior((alpha,), (0.3,)), level(cell)) for task, cell in cells.items()}, prior_strength=20
    ).all
    assert found.coverage == pytest.approx(logit(0.6) - logit(0.3), abs=0.2)
    assert found.acceptance == pytest.approx(0.0, abs=0.2)


def test_without_evidence_nothing_moves() -> None:
    """Nor with tasks that counted nothing, or a strength of zero."""
    assert common_shift({}, prior_strength=20).all == Shift()
    assert common_shift({"code": (Prior((0.7,), (1.0,)), level({}))}, prior_strength=20).all == Shift()
    some = {"code": (Prior((0.7,), (1.0,)), level(counted(0.4, 1)))}
    assert common_shift(some, prior_strength=0).all.acceptance == 0.0


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(0, 40)), min_size=1, max_size=8))
def test_the_shift_is_the_solution_of_its_equation(tasks: list[tuple[float, float, int]]) -> None:
    """Finite, and where the tasks' scores balance the prior, whatever was assumed and whatever was seen."""
    evidence = {
        number: (Prior((assumed,), (1.0,)), level(counted(alpha, number, requests=requests)))
        for number, (assumed, alpha, requests) in enumerate(tasks)
    }
    shift = common_shift(evidence, prior_strength=20).all.acceptance
    score = 0.0
    for assumed, one in evidence.values():
        mean = assumed.acceptance[0]
        if one.counted and 0 < mean < 1:
            tries = sum(proposed for _, proposed, _ in one.counted) / one.design.effect
            hits = sum(accepted for _, _, accepted in one.counted) / one.design.effect
            moved = Shift(shift).applied(assumed).acceptance[0]
            score += 20 / (20 + tries) * (hits - tries * moved)
    assert math.isfinite(shift)
    assert score == pytest.approx(shift / SHIFT_DEVIATION**2, abs=1e-3)
