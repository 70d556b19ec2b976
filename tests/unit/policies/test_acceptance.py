"""The posterior: shrinkage, design effect, intervals that cover, and evidence that cannot poison it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random

import pytest
from drafting import draft_step, simulated_request
from hypothesis import given
from hypothesis import strategies as st

from policies.acceptance import (
    Estimate,
    Prior,
    design_effect,
    draft_acceptance_rate,
    estimate,
    level,
    pooled,
)
from policies.acceptance.design import PRIOR_CORRELATION, design, widening
from policies.acceptance.estimates import curves_of
from policies.evidence import MAX_POSITIONS, RequestSteps, clusters, counters, positions
from policies.speedup import acceptance_length, effective_acceptance, expected_drafted

pytestmark = pytest.mark.unit

EVEN = Prior((0.5,), (1.0,))
ONE_REQUEST = counters(RequestSteps(2, [2, 1, 0, 2], [2, 1, 0, 2]))


def believed(
    *levels: Mapping[str, float], prior: Prior = EVEN, strength: float = 20.0, k: int = 4
) -> Estimate:
    return estimate(prior, levels, prior_strength=strength, reference_k=k)


def evidence(
    rng: Random,
    acceptance: Sequence[float],
    coverage: Sequence[float] = (1.0,),
    *,
    requests: int = 20,
    k: int = 4,
) -> dict[str, float]:
    return pooled(
        [counters(simulated_request(rng, acceptance, coverage, k=k, tokens=60)) for _ in range(requests)]
    )


def test_the_posterior_is_the_formula() -> None:
    """(m mu + hits) / (m + tries), on counts over the design effect, for coverage and for acceptance.

    A prior is a guess of strength m itself, so a task is given half of it.
    """
    found = believed(ONE_REQUEST, prior=Prior((0.5,), (0.8,)))
    effect = 1 + PRIOR_CORRELATION * 3  # one request of four steps: what is assumed of their correlation
    reached, proposed, accepted = 4 / effect, 3 / effect, 3 / effect
    assert found.acceptance[0] == pytest.approx((10 * 0.5 + accepted) / (10 + proposed))
    assert found.coverage[0] == pytest.approx((10 * 0.8 + proposed) / (10 + reached))
    # The second position has as many of the 10 steps as are expected to reach it: one was, in vain.
    given = 10 * 0.5 * 0.8
    effect_of_two = 2 / effect
    assert found.acceptance[1] == pytest.approx((given * 0.5 + effect_of_two) / (given + effect_of_two))


def test_a_position_never_reached_keeps_the_prior() -> None:
    """As far as the reference k, and as the posterior goes."""
    found = believed(ONE_REQUEST, prior=Prior((0.6, 0.3), (0.9,)))
    assert (len(found.acceptance), found.acceptance[3], found.coverage[3]) == (4, 0.3, 0.9)


def test_a_small_tenant_borrows_from_its_task() -> None:
    """One request of its own hardly moves it; without any it is the task's mean."""
    task = evidence(Random(1), [0.9])
    borrowed = believed(task, task, {})
    assert borrowed.acceptance == believed(task, task).acceptance
    little = believed(task, task, counters(RequestSteps(4, [4] * 3, [0] * 3)))
    assert borrowed.alpha - 0.1 < little.alpha < borrowed.alpha


def test_much_evidence_of_its_own_outweighs_the_task() -> None:
    """A tenant unlike its task is believed in the end."""
    task, own = evidence(Random(1), [0.9]), evidence(Random(2), [0.4], requests=200)
    assert believed(task, task, own).alpha == pytest.approx(0.4, abs=0.03)


def test_a_quiet_tenant_drifts_back_and_widens() -> None:
    """As its counts decay, its mean nears the task's, and in the end it is as unsure as without evidence."""
    task, own = evidence(Random(1), [0.9]), evidence(Random(2), [0.4])
    stages = [
        believed(task, task, {name: value * factor for name, value in own.items()})
        for factor in (1.0, 0.1, 0.01, 1e-9)
    ]
    assert [stage.alpha for stage in stages] == sorted(stage.alpha for stage in stages)
    widths = [stage.interval[1] - stage.interval[0] for stage in stages]
    assert widths[0] < widths[1]
    assert widths[0] < widths[-1]
    forgotten = believed(task, task, {})
    assert (stages[-1].alpha, *stages[-1].interval) == pytest.approx((forgotten.alpha, *forgotten.interval))


def test_evidence_is_counted_for_the_task_and_for_the_cell_itself() -> None:
    """Steps that could show something, of the first level and of the last."""
    task, own = evidence(Random(1), [0.9]), ONE_REQUEST
    found = believed(task, {}, own)
    assert (found.evidence_steps, found.own_steps) == (task["reached:1"], 4)
    assert (believed().evidence_steps, believed().own_steps) == (0, 0)


def test_a_rate_of_zero_is_a_rate() -> None:
    """A tenant whose drafts all failed is not shown its task's rate; one without drafts is."""
    task, failed = {"drafted": 10.0, "accepted": 5.0}, {"drafted": 4.0, "accepted": 0.0}
    assert believed(task, failed).draft_acceptance_rate == 0.0
    assert believed(task, {}).draft_acceptance_rate == 0.5
    assert believed({}, {}).draft_acceptance_rate is None
    assert draft_acceptance_rate({"accepted": 3.0}) is None


@pytest.mark.parametrize(("k", "rate"), [(1, 0.80), (3, 0.65), (5, 0.54), (7, 0.45)])
def test_the_expected_draft_acceptance_rate_is_the_one_at_the_reference_k(k: int, rate: float) -> None:
    """Whatever k the evidence came from."""
    counts = evidence(Random(3), [0.8], requests=300, k=8)
    found = believed(counts, prior=Prior((0.8,), (1.0,)), k=k)
    assert found.expected_draft_acceptance_rate() == pytest.approx(rate, abs=0.02)
    assert found.draft_acceptance_rate != pytest.approx(rate, abs=0.02)


def test_a_drafter_that_never_proposes_accepts_nothing() -> None:
    """Coverage 0 is effective acceptance 0, without an error on the way."""
    silent = Estimate(acceptance=(0.9,), coverage=(0.0,), spread=(0.0,), reference_k=4)
    assert (silent.alpha, silent.interval, silent.length(4)) == (0.0, (0.0, 0.0), (1.0, 0.0))
    assert silent.expected_draft_acceptance_rate() == 0.0


def test_perfect_drafts_have_alpha_one() -> None:
    """And nothing beyond it."""
    perfect = Estimate(acceptance=(1.0,), coverage=(1.0,), spread=(0.1,), reference_k=4)
    assert (perfect.alpha, perfect.interval[1], perfect.length(4)[0]) == (1.0, 1.0, 5.0)


def test_alpha_is_the_effective_acceptance_at_the_reference_k() -> None:
    """Also where the evidence has more positions, and k may lie beyond all of them."""
    vector = (0.3, 0.8, 0.9, 0.9, 0.5)
    found = Estimate(acceptance=vector, coverage=(1.0,) * 5, spread=(0.01,) * 5, reference_k=3)
    assert found.alpha == effective_acceptance(acceptance_length(vector, (1.0,), 3), 3)
    assert found.length(12)[0] == pytest.approx(acceptance_length(vector, (1.0,) * 5, 12))


def test_the_deviation_of_length_is_that_of_its_posterior() -> None:
    """The delta method agrees with drawing from the Betas."""
    counts, rng = evidence(Random(5), [0.5, 0.8], [0.7, 0.9], requests=60), Random(6)
    found = believed(counts, prior=Prior((0.5,), (0.8,)))
    effect, chances = design_effect(counts), []
    for i, (a, c) in enumerate(zip(found.acceptance, found.coverage, strict=True), start=1):
        proposed, reached = 20 + counts[f"proposed:{i}"] / effect, 20 + counts[f"reached:{i}"] / effect
        chances.append((a * proposed, (1 - a) * proposed, c * reached, (1 - c) * reached))
    draws = []
    for _ in range(4000):
        p = [rng.betavariate(a, b) * rng.betavariate(c, d) for a, b, c, d in chances]
        draws.append(acceptance_length(p, (1.0,), 4))
    mean = sum(draws) / len(draws)
    deviation = math.sqrt(sum((draw - mean) ** 2 for draw in draws) / len(draws))
    # The draws are independent by position: without the common part, and without the widening for few
    # requests, both of which belong to the estimate and not to the Betas.
    independent = replace(found, shared=(), spread=tuple(s / widening_of(counts) for s in found.spread))
    assert independent.length(4) == (pytest.approx(mean, abs=0.01), pytest.approx(deviation, rel=0.06))
    assert found.length(4)[1] > deviation


def widening_of(counts: Mapping[str, float]) -> float:
    return widening(design(clusters(counts), positions(counts)).freedom)


def test_few_requests_are_not_trusted_to_differ_little() -> None:
    """One request says nothing of how requests differ: an assumption does, and longer ones are worth less."""
    assert design_effect({}) == 1.0
    assert design_effect(ONE_REQUEST) == pytest.approx(1 + PRIOR_CORRELATION * 3)
    long = counters(RequestSteps(4, [4] * 500, [4] * 500))
    assert design_effect(long) == pytest.approx(1 + PRIOR_CORRELATION * 499)


def test_requests_that_agree_exactly_are_as_many_as_they_are() -> None:
    """Rates of 0 and 1 leave no variance to compare with; that neither divides by zero nor hides them."""
    same = pooled([counters(RequestSteps(4, [4] * 500, [1] * 500)) for _ in range(4)])
    faded = {name: value * 1e-12 for name, value in counters(RequestSteps(4, [4] * 500, [4] * 500)).items()}
    assert design_effect(pooled([same, faded])) == pytest.approx(design_effect(same), rel=1e-3)
    assert believed(same).alpha == pytest.approx(effective_acceptance(2.0, 4), abs=0.1)


@pytest.mark.parametrize("ks", [[4], [1, 4, 8]])
@pytest.mark.parametrize(
    ("acceptance", "coverage"), [([0.7], [1.0]), ([0.3, 0.75, 1.0], [0.4, 0.95])], ids=["even", "bursty"]
)
def test_independent_steps_have_no_design_effect(
    acceptance: list[float], coverage: list[float], ks: list[int]
) -> None:
    """Neither bursts within a step nor a mixture of k looks like correlation between steps."""
    rng = Random(8)
    counts = pooled([evidence(rng, acceptance, coverage, requests=1, k=ks[n % len(ks)]) for n in range(600)])
    assert design_effect(counts) < 1.25


def test_requests_that_differ_have_a_design_effect() -> None:
    """With alpha from a Beta of deviation 0.15 a step is worth a fraction of an independent one."""
    rng = Random(9)
    counts = pooled([evidence(rng, [rng.betavariate(6, 3.2)], requests=1) for _ in range(300)])
    assert 3 < design_effect(counts) < 12


@given(st.integers(1, 12), st.lists(st.floats(0, 1), min_size=1, max_size=4), st.integers(0, 2**32))
def test_estimates_agree_with_brute_force(k: int, acceptance: list[float], seed: int) -> None:
    """E[L_k] of an estimate is the mean of draft-and-verify, within five standard errors."""
    rng = Random(seed)
    found = Estimate(tuple(acceptance), (1.0,) * len(acceptance), (0.0,) * len(acceptance), reference_k=4)
    lengths = [1 + draft_step(rng, acceptance, (1.0,), k)[1] for _ in range(400)]
    error = math.sqrt(acceptance_variance(acceptance, k) / 400)
    assert abs(sum(lengths) / 400 - found.length(k)[0]) <= 5 * error + 0.05


def acceptance_variance(acceptance: Sequence[float], k: int) -> float:
    reach, mean, second = 1.0, 0.0, 0.0
    for i in range(k):
        reach *= acceptance[min(i, len(acceptance) - 1)]
        mean, second = mean + reach, second + (2 * i + 1) * reach
    return max(0.0, second - mean**2)


SOUND = evidence(Random(4), [0.7], requests=3)
POISON = st.dictionaries(
    st.sampled_from([*SOUND, "reached:9", "requests:9", "nonsense"]),
    st.one_of(st.sampled_from([math.nan, math.inf, -math.inf, -1.0, 0.0, 5e-324, 1e308]), st.floats(0, 1e6)),
    min_size=1,
    max_size=4,
)


@given(POISON, st.integers(1, 16))
def test_no_cell_ever_poisons_an_estimate(poison: dict[str, float], k: int) -> None:
    """Whatever numbers a level holds, means stay in [0, 1], alpha in its interval, and nothing is NaN."""
    poisoned = {**SOUND, **poison}
    for levels in ([poisoned], [SOUND, poisoned], [poisoned, SOUND], [pooled([SOUND, poisoned]), SOUND]):
        found = believed(*levels, k=k)
        assert all(0 <= value <= 1 for value in (*found.acceptance, *found.coverage))
        assert all(0 <= value <= 1 for value in found.spread)
        assert 0 <= found.interval[0] <= found.alpha + 1e-9 <= found.interval[1] + 2e-9 <= 1 + 3e-9
        assert 0 <= found.expected_draft_acceptance_rate() <= 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -3.0])
@pytest.mark.parametrize("name", ["reached:1", "proposed:2", "accepted:1", "yy:4", "steps"])
def test_an_unsound_level_counts_as_missing(name: str, value: float) -> None:
    """Its other numbers are not believed either, alone or pooled."""
    poisoned = {**SOUND, name: value}
    assert believed(SOUND, poisoned) == believed(SOUND, {})
    assert pooled([SOUND, poisoned]) == SOUND


def test_no_level_at_all_is_the_prior() -> None:
    """Empty levels likewise; a tenant of an unknown task is less sure than the task would be."""
    assert believed() == believed({})
    assert believed().alpha == believed({}, {}, {}).alpha == pytest.approx(0.5)
    assert believed({}, {}, {}).deviations[4] > 1.3 * believed({}).deviations[4]


def test_what_a_tenant_counted_counts_once() -> None:
    """Its task's counters hold it too: a task with this one tenant is the tenant, on one prior."""
    counts = evidence(Random(12), [0.9], requests=30)
    thrice, once = believed(counts, counts, counts), believed(counts, strength=20 / 3)
    assert thrice.acceptance == pytest.approx(once.acceptance, rel=0.01)
    assert thrice.deviations == pytest.approx(once.deviations, rel=0.12)


def test_a_well_known_task_gives_its_tenants_the_full_prior_strength() -> None:
    """With much of other evidence the tenant's prior is its task's mean, with the policy's strength."""
    others, own = evidence(Random(13), [0.6], requests=4000), evidence(Random(14), [0.9], requests=4)
    found, task = believed(pooled([others, own]), own), believed(others)
    effect = design(clusters(own), positions(own), level(pooled([others, own])).design.correlation).effect
    tries, hits = own["proposed:1"] / effect, own["accepted:1"] / effect
    expected = (20 * task.acceptance[0] + hits) / (20 + tries)
    assert found.acceptance[0] == pytest.approx(expected, abs=0.002)


def test_the_curves_are_the_formulas() -> None:
    """By k from 0: acceptance length, draft tokens per step, chance of a draft, and a deviation that grows."""
    given = believed(evidence(Random(15), [0.5, 0.8], [0.6, 0.9]), prior=Prior((0.5,), (0.8,)))
    found = replace(given, curves=None)
    for k, length in enumerate(found.lengths):
        assert length == pytest.approx(acceptance_length(found.acceptance, found.coverage, k))
        assert found.drafted[k] == pytest.approx(expected_drafted(found.coverage, k))
        assert found.proposing[k] == (found.coverage[0] if k else 0.0)
    assert (found.lengths[0], found.deviations[0], len(found.lengths)) == (1.0, 0.0, MAX_POSITIONS + 1)
    assert list(found.deviations) == sorted(found.deviations)


def test_the_bursty_histogram_of_the_design_keeps_its_shape() -> None:
    """39, 1, 0 and 3: the conditionals 0.09, 0.75 and 1.0 survive a weak prior, no geometric rate does."""
    counts = counters(RequestSteps(3, [3] * 44, [0] * 39 + [1] + [3] * 3 + [0]))
    found = believed(counts, strength=0.01, k=3)
    assert [rate for rate, _ in zip(found.acceptance, range(3), strict=False)] == [
        pytest.approx(0.093, abs=5e-3), pytest.approx(0.75, abs=5e-3), pytest.approx(1.0, abs=0.02)
    ]  # fmt: skip
    assert found.lengths[3] == pytest.approx(1 + (1 + 3 * 3) / 43, abs=0.01)


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.3), st.floats(0, 1)),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 10),
)
def test_deviations_are_those_of_the_delta_method(
    positions: list[tuple[float, float, float, float]], highest: int
) -> None:
    """Every derivative by itself: R_j-1 times what a token at j brings, squared and added, shared parts first."""
    acceptance, coverage, spread, parts = zip(*positions, strict=True)
    shared = tuple(s * part for s, part in zip(spread, parts, strict=True))
    found = curves_of(acceptance, coverage, spread, highest, shared=shared)

    def of(values: Sequence[float], i: int) -> float:
        return values[min(i, len(values) - 1)]

    for k in range(highest + 1):
        chances = [of(acceptance, i) * of(coverage, i) for i in range(k)]
        slopes = []
        for j in range(k):
            ahead = 1.0
            for chance in reversed(chances[j + 1 :]):
                ahead = 1.0 + chance * ahead
            slopes.append(math.prod(chances[:j]) * ahead)
        independent = sum(
            (slope * of(spread, j)) ** 2 - (slope * of(shared, j)) ** 2 for j, slope in enumerate(slopes)
        )
        together = sum(slope * of(shared, j) for j, slope in enumerate(slopes))
        assert found.deviations[k] == pytest.approx(
            math.sqrt(max(0.0, independent) + together**2), rel=1e-6, abs=1e-7
        )
