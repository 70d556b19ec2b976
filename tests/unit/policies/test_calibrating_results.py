"""What a calibration makes of its answers: domains, sampling, cells and the break-even surface."""

from dataclasses import replace
from random import Random

import pytest
from calibrations import COSTS, DRAFT, NGRAM, PLAIN, PLAIN_S, VANILLA, answer, answers, drafting, lucky
from hypothesis import given
from hypothesis import strategies as st

from policies.calibrating import (
    cells,
    contexts_ran,
    domain_results,
    sampling_results,
    surface,
    typical_context,
)
from policies.calibrating.surface import CONTEXTS, file_entries
from policies.cells import CellKey
from policies.cost import Calibrated, StepTime
from policies.evidence import is_sound
from policies.speedup import geometric_length

pytestmark = pytest.mark.unit

BASE = (0.0, 1.0)
KS = {"ngram": 4}


def test_good_drafts_pay_and_bad_ones_do_not() -> None:
    """By the time per token beside plain decoding of the same prompts."""
    good, bad = domain_results(
        [*answers(0.9), *answers(0.1, domain="creative", task="creative")], base=BASE, reference_ks=KS
    )
    assert (good.domain, good.zone, good.verdict, good.best_k) == ("code", "good", "pays", 8)
    assert (bad.domain, bad.zone, bad.verdict, bad.tasks) == ("creative", "poor", "loses", ("creative",))
    assert good.alpha is not None
    assert good.alpha.low < 0.9 < good.alpha.high
    assert len(good.acceptance) == len(good.coverage) == 8
    assert good.coverage[0].value == 1


@pytest.mark.parametrize(("alpha", "zone"), [(0.4, "poor"), (0.56, "gray"), (0.7, "good")])
def test_zones_are_told(alpha: float, zone: str) -> None:
    """Below 0.5, and up to 0.6."""
    (found,) = domain_results(list(answers(alpha, prompts=40, steps=100)), base=BASE, reference_ks=KS)
    assert found.zone == zone


def test_what_ran_elsewhere_than_asked_counts_nowhere() -> None:
    """It is told apart: a pool was full, or the policy cut k."""
    own = list(answers(0.8))
    strayed = [answer(one.prompt, one.side, one.accepted, k=1) if one.k == 8 else one for one in own]
    (found,) = domain_results(strayed, base=BASE, reference_ks=KS)
    by_k = {side.side.k: side for side in found.sides}
    assert (by_k[8].requests, by_k[8].elsewhere, by_k[8].tpot_ratio) == (0, 12, None)
    assert (by_k[4].requests, by_k[4].elsewhere) == (12, 0)
    assert len(found.acceptance) == 4


def test_plain_decoding_on_a_drafting_pool_is_a_side_not_the_measure() -> None:
    """What a drafter takes though nobody uses it shows as its own ratio."""
    plain = [answer(str(number), PLAIN) for number in range(5)]
    idle = [
        answer(str(number), drafting(0), decode_s=20 * PLAIN_S * (1.1 + number / 1000)) for number in range(5)
    ]
    used = [answer(str(number), drafting(4), [4] * 20) for number in range(5)]
    (found,) = domain_results([*plain, *idle, *used], base=BASE, reference_ks=KS)
    ratios = {side.side: side.tpot_ratio for side in found.sides}
    assert ratios[PLAIN] is None
    assert ratios[drafting(0)].value == pytest.approx(1.102, abs=0.001)  # type: ignore[union-attr]
    assert ratios[drafting(4)].value == pytest.approx(1.5 / 5, rel=0.02)  # type: ignore[union-attr]


def test_a_lower_temperature_is_compared_prompt_by_prompt() -> None:
    """What it brings in tokens per step, and what becomes of alpha."""
    rng = Random(3)
    low = [answer(str(n), drafting(4), lucky(rng, 0.8, 4, 60)) for n in range(12)]
    high = [answer(str(n), drafting(4, temperature=1.0), lucky(rng, 0.5, 4, 60)) for n in range(12)]
    (found,) = sampling_results([*low, *high], base=BASE, reference_ks=KS)
    assert (found.what, found.value, found.lower, found.k) == ("temperature", 1.0, 0.0, 4)
    assert found.lower_alpha.low > found.alpha.high
    assert found.gain.value == pytest.approx(geometric_length(0.8, 4) / geometric_length(0.5, 4), rel=0.1)
    assert found.gain.low > 1


def test_another_top_p_is_compared_too() -> None:
    """Under its own name."""
    shown = [answer(str(n), drafting(4, top_p=p), [2] * 20) for n in range(3) for p in (1.0, 0.9)]
    (found,) = sampling_results(shown, base=BASE, reference_ks=KS)
    assert (found.what, found.value, found.lower, found.gain.value) == ("top_p", 1.0, 0.9, 1.0)


@given(st.integers(1, 5), st.integers(1, 4))
def test_a_prompt_is_one_request_of_evidence_however_often_it_was_asked(prompts: int, times: int) -> None:
    """Its answers resemble one another. Counters stay sound, and cells are told apart by temperature."""
    shown = [
        answer(str(n), drafting(k, temperature=t), [1, 0, 1, 1])
        for n in range(prompts)
        for k in range(1, times + 1)
        for t in (0.0, 1.0)
    ]
    found = cells(shown, top_p=1.0)
    assert set(found) == {CellKey("ngram", "code", t, "anonymous") for t in ("low", "high")}
    for counts in found.values():
        assert counts["requests"] == pytest.approx(prompts)
        assert counts["steps"] == pytest.approx(4 * prompts)
        assert is_sound(counts)


def test_replays_are_evidence_of_plain_answers_too() -> None:
    """In cells of their own; other top_p and plain steps are none."""
    replayed = {"ngram": {"requests": 1.0, "steps:1": 9.0}}
    shown = [answer("a", PLAIN, replays=replayed), answer("b", drafting(4, top_p=0.5), [1] * 9)]
    assert cells(shown, top_p=1.0) == {
        CellKey("ngram.replay", "code", "low", "anonymous"): {"requests": 1.0, "steps:1": 9.0}
    }


def test_the_break_even_is_where_both_take_the_same_time() -> None:
    """1 + alpha + … + alpha^k tokens in the time of plain steps; null where none would do."""
    points = surface(
        [VANILLA, NGRAM, DRAFT], COSTS, {}, {("draft", 4, 1): [900.0], ("draft", 4, 8): [900.0] * 7}
    )
    at = {(one.profile, one.k, one.batch): one for one in points if one.context == 1024}
    for one in at.values():
        if one.alpha is not None:
            ratio = one.speculative_ms / one.plain_ms
            assert geometric_length(one.alpha, one.k) == pytest.approx(ratio, rel=1e-3)
    assert at["ngram", 4, 1].alpha == pytest.approx(0.35, abs=0.02)
    assert at["draft", 5, 1].alpha > at["ngram", 5, 1].alpha  # type: ignore[operator]
    assert at["draft", 4, 1].measured
    assert not at["draft", 4, 8].measured  # seven requests are no batch of eight
    dear = {**COSTS, "ngram": Calibrated(StepTime(PLAIN_S, verify=3 * PLAIN_S), 0.05, 2000)}
    assert all(one.alpha is None for one in surface([VANILLA, NGRAM], dear, {}, {}) if one.k <= 3)


def test_drafts_that_are_seldom_offered_cost_seldom() -> None:
    """A copying drafter's coverage lowers its break-even; the file has the surface of its pool."""
    key = CellKey("ngram", "code", "low", "anonymous")
    counts = {"reached:1": 100.0, "proposed:1": 20.0, "accepted:1": 10.0}
    seldom = surface([VANILLA, NGRAM], COSTS, {key: counts}, {})
    always = surface([VANILLA, NGRAM], COSTS, {}, {})
    assert [one.alpha for one in seldom if one.k == 1][0] < [one.alpha for one in always if one.k == 1][0]  # type: ignore[operator] # noqa: RUF015
    assert file_entries(seldom, "vanilla") == []
    (first, *_), point = file_entries(seldom, "ngram"), seldom[0]
    assert first == {name: getattr(point, name) for name in first}
    assert first.keys() == {"k", "batch", "context", "alpha", "half_width", "measured"}


@pytest.mark.parametrize(
    ("context", "where"), [(80.0, {80.0}), (130.0, {130.0, 256.0}), (1500.0, {1024.0, 1500.0}), (9e4, {9e4})]
)
def test_a_point_is_measured_where_requests_had_about_its_context(context: float, where: set[float]) -> None:
    """Up to twice as much or half of it: short prompts say nothing of 4,096 tokens."""
    shown = [answer("a", drafting(4), prompt_tokens=int(context) - 10, tokens=20)]
    assert typical_context(shown) == context
    points = surface([VANILLA, NGRAM], COSTS, {}, contexts_ran(shown), {*CONTEXTS, context})
    assert {one.context for one in points if one.measured} == where
    assert {(one.k, one.batch) for one in points if one.measured} == {(4, 1)}


def test_every_figure_of_a_side_has_its_interval() -> None:
    """Where prompts differ it tells how far; one prompt alone has times without one."""
    rng = Random(2)
    many = [
        answer(str(n), drafting(4), lucky(rng, 0.7, 4, 30), decode_s=rng.gauss(1.0, 0.1)) for n in range(8)
    ]
    (found,) = domain_results(many, base=BASE, reference_ks=KS)
    (side,) = found.sides
    for figure in (side.acceptance_length, side.draft_acceptance_rate, side.tpot_ms, side.ttft_ms):
        assert figure is not None
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low <= figure.value <= figure.high
    assert side.acceptance_length is not None
    assert side.acceptance_length.low < geometric_length(0.7, 4) < side.acceptance_length.high  # type: ignore[operator]
    (found,) = domain_results(many[:1], base=BASE, reference_ks=KS)
    (alone,) = found.sides
    assert alone.tpot_ms is not None
    assert (alone.tpot_ms.low, alone.tpot_ms.high) == (None, None)
    assert alone.acceptance_length is not None
    assert alone.acceptance_length.low is not None


def test_what_was_decoded_at_once_is_one_observation_of_time() -> None:
    """Eight answers of two blocks differ by whatever the machine did then; two say little."""
    rng = Random(4)
    own = [
        answer(str(n), drafting(4, batch=4), lucky(rng, 0.7, 4, 30), decode_s=1.0 + n // 4) for n in range(8)
    ]
    (apart,) = domain_results(own, base=BASE, reference_ks=KS)[0].sides
    blocks = [replace(one, block=int(one.prompt) // 4) for one in own]
    (at_once,) = domain_results(blocks, base=BASE, reference_ks=KS)[0].sides
    assert at_once.tpot_ms is not None
    assert apart.tpot_ms is not None
    assert at_once.tpot_ms.value == pytest.approx(apart.tpot_ms.value)
    assert at_once.tpot_ms.high > 2 * apart.tpot_ms.high  # type: ignore[operator]
    assert at_once.ttft_ms is not None
    assert at_once.ttft_ms.low is None


def test_other_sampling_is_compared_with_plain_decoding_sampled_alike() -> None:
    """Each temperature has a ratio of its own."""
    own = []
    for temperature, per_step in ((0.0, 4), (0.7, 1)):
        plain = PLAIN._replace(temperature=temperature)
        own += [answer(str(n), plain) for n in range(3)]
        own += [answer(str(n), drafting(4, temperature=temperature), [per_step] * 20) for n in range(3)]
    (found,) = domain_results(own, base=BASE, reference_ks=KS)
    ratios = {one.side.temperature: one.tpot_ratio for one in found.sides if one.side.k}
    assert ratios[0.0].value == pytest.approx(1.5 / 5, rel=0.02)  # type: ignore[union-attr]
    assert ratios[0.7].value == pytest.approx(1.5 / 2, rel=0.02)  # type: ignore[union-attr]
    assert found.best_k == 4
