"""The cost model: what a step time says, and what a fit finds out."""

from __future__ import annotations

import itertools
import json
import math
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.cost import StepLoad, StepMoments, StepShape, StepTime, fit, seed
from policies.cost.fit import _non_negative
from policies.cost.moments import FEATURES

pytestmark = pytest.mark.unit

SEED = seed(StepShape(), 0.1)
TRUTH = StepTime(0.02, 0.0005, 0.006, 0.004, 0.0004, 0.0015, 2e-6, 0.001, 0.0002, 0.0001, 0.0003)

loads = st.builds(
    StepLoad,
    requests=st.floats(0, 64),
    verifying=st.floats(0, 1),
    drafted=st.floats(0, 300),
    asked=st.floats(0, 16),
    context=st.floats(0, 1e5),
    prefill=st.floats(0, 8192),
    reading=st.floats(0, 1),
    chunk=st.floats(0, 8192),
)
coefficients = st.builds(StepTime, *(st.floats(0, 1) for _ in range(FEATURES)))


def some_load(rng: Random, *, batch: int = 8, model: bool = True) -> StepLoad:
    """A pass of a busy engine."""
    requests = rng.randint(1, batch)
    drafted = rng.choice([0, 0, rng.randint(1, 8 * requests)])
    prefill = rng.choice([0] * 9 + [rng.randint(1, 512)])
    asked = rng.randint(1, 8) if model else 0
    return StepLoad(requests, float(drafted > 0), drafted, asked, requests * rng.uniform(50, 2000), prefill)


def moments(steps: list[tuple[StepLoad, float]]) -> StepMoments:
    """Of steps that all count alike, errors relative to what was measured."""
    rows = np.asarray([(*load.features(), seconds) for load, seconds in steps])
    return StepMoments.of(rows, rows[:, -1] ** -2, np.ones(len(rows)))


def steps_of(
    truth: StepTime, count: int, *, noise: float = 0.0, **options: int
) -> list[tuple[StepLoad, float]]:
    rng = Random(7)
    drawn = [some_load(rng, **options) for _ in range(count)]
    return [(load, truth.seconds(load) * rng.gauss(1, noise)) for load in drawn]


# -- step times


@given(coefficients, loads)
def test_a_step_time_is_linear_in_the_features(step_time: StepTime, load: StepLoad) -> None:
    """`seconds`, written out for speed, is the product of coefficients and features."""
    expected = sum(a * b for a, b in zip(step_time, load.features(), strict=True))
    assert step_time.seconds(load) == pytest.approx(expected)


@given(coefficients, loads)
def test_a_passs_time_is_the_sum_over_its_features(step_time: StepTime, load: StepLoad) -> None:
    """The spelled-out form is the formula."""
    products = [c * feature for c, feature in zip(step_time, load.features(), strict=True)]
    assert step_time.seconds(load) == pytest.approx(sum(products))


@given(coefficients, loads, st.floats(0.1, 10))
def test_a_slower_machine_takes_longer_for_everything(
    step_time: StepTime, load: StepLoad, factor: float
) -> None:
    """`times` scales every pass."""
    assert step_time.times(factor).seconds(load) == pytest.approx(factor * step_time.seconds(load))


@pytest.mark.parametrize(
    ("load", "wide"),
    [
        (StepLoad(requests=1), 0.0),
        (StepLoad(requests=1, verifying=1, drafted=1), 1.0),
        (StepLoad(requests=1, verifying=0.3, drafted=1), 0.3),
        (StepLoad(requests=2), 1.0),
        (StepLoad(requests=1.5), 0.5),
        (StepLoad(requests=1.5, verifying=0.5, drafted=2), 0.75),
        (StepLoad(requests=1, prefill=10), 1.0),
        (StepLoad(prefill=1), 0.0),
        (StepLoad(prefill=2), 1.0),
        (StepLoad(), 0.0),
    ],
)
def test_a_pass_is_wide_when_it_computes_more_than_one_token(load: StepLoad, wide: float) -> None:
    """Whoever brings the second one: a draft, a request, a prompt. For expected loads it is the chance."""
    assert load.wide == pytest.approx(wide)


def test_a_seed_has_the_profiles_shape() -> None:
    """In plain steps: 1 for one token, 1 + verify + per_token * d for d drafts, and the drafter's own work."""
    found = seed(StepShape(verify=0.5, per_token=0.1, per_draft_token=0.25), 0.02)
    plain = StepLoad(requests=1)
    assert found.plain_s() == pytest.approx(0.02)
    assert found.seconds(plain) == pytest.approx(0.02)
    assert found.seconds(StepLoad(1, 1, 4, 4)) == pytest.approx(0.02 * (1 + 0.5 + 0.4 + 1.0))


# -- fitting


@pytest.mark.parametrize("model", [True, False])
def test_a_fit_recovers_what_noisy_steps_were_made_with(*, model: bool) -> None:
    """Each coefficient that matters within a tenth, every pass within 2 %, although single steps scatter by 5 %."""
    found = fit(moments(steps_of(TRUTH, 2000, noise=0.05, model=model)), SEED)
    truth = TRUTH if model else TRUTH._replace(per_asked=found.step_time.per_asked)
    for load, seconds in steps_of(truth, 500, model=model):
        assert found.step_time.seconds(load) == pytest.approx(seconds, rel=0.03)
    assert found.step_time.base == pytest.approx(TRUTH.base, rel=0.1)
    assert found.step_time.per_drafted == pytest.approx(TRUTH.per_drafted, rel=0.1)
    assert found.step_time.per_prefill == pytest.approx(TRUTH.per_prefill, rel=0.1)
    assert found.relative_error == pytest.approx(0.05, abs=0.02)
    assert found.steps == 2000


@given(coefficients)
@settings(max_examples=50, deadline=None)
def test_no_coefficient_is_negative_and_the_steps_are_explained(truth: StepTime) -> None:
    """Whatever the truth is made of, noiseless steps come back and nothing falls below zero."""
    truth = truth._replace(base=truth.base + 0.01)
    steps = steps_of(truth, 300)
    found = fit(moments(steps), SEED)
    assert min(found.step_time) >= 0
    for load, seconds in steps[:50]:
        assert found.step_time.seconds(load) == pytest.approx(seconds, rel=0.05)


@given(st.lists(st.tuples(loads, st.floats(1e-6, 100.0)), min_size=1, max_size=20))
def test_passes_take_time_whatever_was_measured(steps: list[tuple[StepLoad, float]]) -> None:
    """A step time of 0 would make every arm free, and what is predicted of it has no relative error."""
    assert any(fit(moments(steps), SEED).step_time)


def test_a_pool_that_never_drafted_keeps_the_shape_of_its_profile() -> None:
    """What plain steps say nothing of is the seed's, in units of the plain step that was measured."""
    rng = Random(3)
    steps = [(StepLoad(1, context=rng.uniform(50, 500)), 0.025 * rng.gauss(1, 0.03)) for _ in range(500)]
    found = fit(moments(steps), SEED).step_time
    assert found.plain_s() == pytest.approx(0.025, rel=0.03)
    scale = found.plain_s() / SEED.plain_s()
    for name in ("wide", "per_drafted", "per_asked", "per_prefill"):
        assert getattr(found, name) == pytest.approx(scale * getattr(SEED, name), rel=0.02)


def test_a_staircase_is_a_stair_and_no_slope() -> None:
    """One token takes 1 and any 2 to 16 take 1.7, drafts or requests: that is what comes back."""
    rng = Random(11)
    steps = []
    for _ in range(1000):
        requests = rng.choice([1, 1, 1, 2, 4])
        drafted = rng.choice([0, rng.randint(1, 16 - requests)])
        seconds = 0.02 * (1.7 if requests + drafted > 1 else 1.0) * rng.gauss(1, 0.05)
        steps.append((StepLoad(requests, float(drafted > 0), drafted, 0, 300 * requests), seconds))
    found = fit(moments(steps), SEED).step_time
    for requests, drafted in ((1, 1), (1, 8), (1, 15), (4, 0), (4, 12)):
        load = StepLoad(requests, float(drafted > 0), drafted, 0, 300 * requests)
        assert found.seconds(load) == pytest.approx(0.034, rel=0.05)
    assert found.seconds(StepLoad(1, context=300)) == pytest.approx(0.02, rel=0.05)


def test_a_slope_is_a_slope_and_no_stair() -> None:
    """A twentieth of a plain step for every token, of drafts or requests, although the seed has a stair."""
    truth = StepTime(0.019, per_request=0.001, per_drafted=0.001)
    found = fit(moments(steps_of(truth, 1000, noise=0.05, model=False)), SEED).step_time
    for load in (StepLoad(1), StepLoad(1, 1, 1), StepLoad(1, 1, 8), StepLoad(8), StepLoad(8, 1, 20)):
        assert found.seconds(load) == pytest.approx(truth.seconds(load), rel=0.05)


@given(factor=st.floats(0.2, 5), k=st.integers(1, 5), count=st.integers(40, 200))
@settings(max_examples=40, deadline=None)
def test_what_always_moves_together_is_split_as_the_seed_has_it(factor: float, k: int, count: int) -> None:
    """One k for all: drafts in proportion to requests. Their sum is known, the shares are the seed's, scaled."""
    rng = Random(5)
    shape = seed(StepShape(verify=0.2, per_token=0.03, per_draft_token=0.1, per_request=0.05), 0.1)
    truth = shape.times(factor)
    drawn = [rng.randint(2, 16 // (k + 1) + 1) for _ in range(count)]
    steps = [(load, truth.seconds(load)) for load in (StepLoad(b, 1.0, k * b, k, 300.0 * b) for b in drawn)]
    found = fit(moments(steps), shape).step_time
    for name in ("per_request", "per_drafted", "per_asked", "wide"):
        assert getattr(found, name) == pytest.approx(getattr(truth, name), rel=0.15)
    for load, seconds in steps:
        assert found.seconds(load) == pytest.approx(seconds, rel=0.01)


def roofline_s(load: StepLoad) -> float:
    """A pass bound by reading weights (8.5 ms) or by arithmetic (56 us a token), rounded between the two."""
    tokens = load.requests + load.drafted + load.prefill
    return 0.003 + (0.0085**4 + (56e-6 * tokens) ** 4) ** 0.25


def passes_of_one_k(rng: Random, count: int, k: int) -> list[tuple[StepLoad, float]]:
    """Batches of up to 80 with the same k throughout, one pass in four with a prompt."""
    steps = []
    for _ in range(count):
        requests = round(math.exp(rng.uniform(0, math.log(80))))
        prefill = rng.randint(16, 2000) if rng.random() < 0.25 else 0
        load = StepLoad(requests, 1.0, k * requests, 0, 600.0 * requests, prefill)
        steps.append((load, roofline_s(load) * rng.gauss(1, 0.03)))
    return steps


@pytest.mark.parametrize("count", [150, 1000])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_price_of_a_draft_is_known_where_all_requests_have_one_k(k: int, count: int) -> None:
    """To a roofline a token is a token: batches of other sizes have shown what one more draft each would cost."""
    found = fit(moments(passes_of_one_k(Random(k), count, k)), SEED).step_time
    for requests in (4, 16, 40, 60):
        as_seen = StepLoad(requests, 1.0, k * requests, 0, 600.0 * requests)
        assert found.seconds(as_seen) == pytest.approx(roofline_s(as_seen), rel=0.1)
        dearer = as_seen._replace(drafted=(k + 1) * requests)
        assert found.seconds(dearer) == pytest.approx(roofline_s(dearer), rel=0.15)
        added_s = found.seconds(dearer) - found.seconds(as_seen)
        true_s = roofline_s(dearer) - roofline_s(as_seen)
        assert 0.4 * true_s - 4e-4 <= added_s <= 1.6 * true_s + 4e-4


def test_drafts_cost_more_beside_a_prompt_where_arithmetic_binds() -> None:
    """In expectation over passes with and without one, the prompt's own time not counted."""
    found = fit(moments(passes_of_one_k(Random(1), 1000, 2)), SEED).step_time
    alone, reading = StepLoad(8, 1.0, 8), StepLoad(8, 1.0, 8, reading=1.0, chunk=500)
    more, more_reading = alone._replace(drafted=24), reading._replace(drafted=24)
    assert found.seconds(more) - found.seconds(alone) < 5e-4
    assert found.seconds(more_reading) - found.seconds(reading) == pytest.approx(16 * 56e-6, rel=0.15)
    half = [load._replace(reading=0.5) for load in (reading, more_reading)]
    middle_s = (found.seconds(more) - found.seconds(alone) + 16 * 56e-6) / 2
    assert found.seconds(half[1]) - found.seconds(half[0]) == pytest.approx(middle_s, rel=0.15)


def test_long_prompts_do_not_stretch_what_was_never_seen() -> None:
    """A seed that misjudges prompts a hundredfold leaves the plain step, and what follows from it, alone."""
    steps = [(StepLoad(1), 0.02)] * 20 + [(StepLoad(0, prefill=500), 0.02 + 500 * 1e-5)] * 20
    found = fit(moments(steps), SEED).step_time
    assert found.plain_s() == pytest.approx(0.02, rel=0.05)
    assert found.per_drafted == pytest.approx(SEED.per_drafted * 0.2, rel=0.1)


def test_without_steps_there_is_the_seed() -> None:
    """And its error."""
    found = fit(StepMoments.empty(), SEED, seed_error=0.2)
    assert (found.step_time, found.relative_error, found.steps) == (SEED, 0.2, 0.0)


@pytest.mark.parametrize("error", [0.1, 0.5])
def test_what_drafts_cost_is_the_calibrations_until_many_steps_tell(error: float) -> None:
    """A few steps with drafts that met other load tell less than a calibration does; many replace it."""
    plain, drafts = StepLoad(1, context=300), StepLoad(1, 1.0, 4, 4, 300)
    few = [(plain, TRUTH.seconds(plain)), (drafts, 2.5 * TRUTH.seconds(drafts))] * 4

    def ratio(steps: list[tuple[StepLoad, float]], *, calibrated: bool) -> float:
        found = fit(moments(steps), TRUTH, seed_error=error, calibrated=calibrated).step_time
        return found.seconds(drafts) / found.seconds(plain)

    truth = TRUTH.seconds(drafts) / TRUTH.seconds(plain)
    guessed, held = (ratio(few, calibrated=calibrated) for calibrated in (False, True))
    assert truth <= held < guessed
    if error == 0.5:
        assert held < 1.2 * truth
    assert ratio(few * 2000, calibrated=True) == pytest.approx(guessed, rel=0.02)


def test_a_few_steps_are_believed_less_than_many() -> None:
    """The error starts at the seed's and falls to the steps' own."""
    steps = steps_of(TRUTH, 1000, noise=0.05)
    errors = [fit(moments(steps[:count]), SEED).relative_error for count in (1, 10, 100, 1000)]
    assert errors == sorted(errors, reverse=True)


@given(
    st.integers(1, 5).flatmap(
        lambda n: st.tuples(
            st.lists(st.lists(st.floats(-2, 2), min_size=n, max_size=n), min_size=n + 2, max_size=n + 5),
            st.lists(st.floats(-2, 2), min_size=n, max_size=n),
        )
    )
)
@settings(deadline=None)
def test_the_solver_finds_the_best_of_all_choices_of_free_coefficients(
    given: tuple[list[list[float]], list[float]],
) -> None:
    """Against the definition: the best non-negative least squares solution over every subset."""
    rows, right = np.asarray(given[0]), np.asarray(given[1])
    size = len(right)
    normal = rows.T @ rows + 1e-3 * np.eye(size)

    def loss(x: np.ndarray) -> float:
        return float(x @ normal @ x - 2 * right @ x)

    best = 0.0
    for count in range(1, size + 1):
        for free in itertools.combinations(range(size), count):
            x = np.zeros(size)
            x[list(free)] = np.linalg.solve(normal[np.ix_(free, free)], right[list(free)])
            if (x >= 0).all():
                best = min(best, loss(x))
    found = _non_negative(normal, right)
    assert (found >= 0).all()
    assert loss(found) <= best + 1e-6 * (1 + abs(best))


# -- moments


@given(st.lists(st.integers(0, 2), min_size=1, max_size=60))
@settings(deadline=None)
def test_merged_moments_are_those_of_one_stream(owners: list[int]) -> None:
    """However steps are dealt out to replicas, and in whatever order those are added up."""
    steps = steps_of(TRUTH, len(owners), noise=0.1)
    whole = moments(steps)
    parts = [
        moments([step for step, owner in zip(steps, owners, strict=True) if owner == replica])
        for replica in set(owners)
    ]
    for order in itertools.permutations(parts):
        merged = StepMoments.empty()
        for part in order:
            merged = merged.merged(part)
        assert merged.steps == whole.steps
        np.testing.assert_allclose(merged.matrix, whole.matrix, rtol=1e-9)


@given(st.integers(1, 50), st.floats(1e-3, 1.0))
@settings(deadline=None)
def test_moments_survive_the_wire(count: int, factor: float) -> None:
    """As a list, through JSON, scaled or not."""
    sent = moments(steps_of(TRUTH, count, noise=0.1)).scaled(factor)
    back = StepMoments.from_list(json.loads(json.dumps(sent.to_list())))
    assert back.steps == sent.steps
    np.testing.assert_allclose(back.matrix, sent.matrix, rtol=1e-12)


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values[:-1],
        lambda values: [*values, 0.0],
        lambda values: [float("nan"), *values[1:]],
        lambda values: [*values[:-1], float("inf")],
        lambda values: [-1.0, *values[1:]],
        lambda values: ["many", *values[1:]],
        lambda values: [values[0], values[1], 1e12, *values[3:]],
    ],
)
def test_what_no_steps_can_have_is_refused(change: object) -> None:
    """Wrong lengths, no numbers, negative ones, products greater than their factors allow."""
    values = moments(steps_of(TRUTH, 10)).to_list()
    with pytest.raises(ValueError, match="step moments"):
        StepMoments.from_list(change(values))  # type: ignore[operator]


def test_a_slow_moment_does_not_move_what_was_calibrated() -> None:
    """Three answers of 50 passes, whose drafting passes met other load: 30 % longer, all of them."""
    plain, drafts = StepLoad(1, context=300), StepLoad(1, 1.0, 4, 4, 300)
    slow = [(plain, TRUTH.seconds(plain))] * 50 + [(drafts, 1.3 * TRUTH.seconds(drafts))] * 100
    truth = TRUTH.seconds(drafts) / TRUTH.seconds(plain)

    def ratio(steps: list[tuple[StepLoad, float]]) -> float:
        found = fit(moments(steps), TRUTH, seed_error=0.12, calibrated=True).step_time
        return found.seconds(drafts) / found.seconds(plain)

    assert ratio(slow) < 1.15 * truth
    assert ratio(slow * 30) > 1.25 * truth
