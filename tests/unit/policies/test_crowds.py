"""How crowded a pool is, and one k for all where the drafter is a model."""

from __future__ import annotations

from dataclasses import replace

import pytest
from deciding import DRAFT, NGRAM, accepting, context, policy
from hypothesis import given
from hypothesis import strategies as st

from policies.acceptance import Estimate
from policies.cost import StepLoad, StepTime
from policies.crowds import NOT_CROWDED, Crowds
from policies.decide import Pool, Score, Work, decide

pytestmark = pytest.mark.unit

TIME = StepTime(base=0.010, per_request=0.0002, per_drafted=0.0004, per_asked=0.001, per_prefill=0.00002)
MODEL = replace(DRAFT, step_time=TIME, capacity=256)
COPYING = replace(NGRAM, step_time=TIME._replace(per_asked=0.0), capacity=256)
WORK = Work(prompt_tokens=100, output_tokens=201)


def score(pool: Pool, estimate: Estimate, k: int) -> Score:
    lengths = (estimate.lengths[k], estimate.drafted[k], estimate.proposing[k])
    return Score(pool.profile, k, 1.0, 0.0, 0.0, 0.1, 1.0, *lengths, meets_objective=True, measured=True)


def sent(pool: Pool, per_s: float, *, alpha: float = 0.7, k: int = 3, seconds: float = 300.0) -> Crowds:
    """A pool that got `per_s` requests per second up to second `seconds`."""
    crowds, estimate = Crowds(), accepting(alpha)
    for number in range(int(per_s * seconds)):
        crowds.sent(score(pool, estimate, k), estimate, WORK, number / per_s)
    return crowds


def test_an_empty_pool_is_not_crowded() -> None:
    """Neither before the first request, nor when one comes now and then."""
    assert Crowds().of(MODEL, 0.0) == NOT_CROWDED
    assert sent(MODEL, 0.1).of(MODEL, 300.0) == NOT_CROWDED
    assert sent(COPYING, 0.1).of(COPYING, 300.0).crowding == pytest.approx(1.0, abs=0.02)


def test_crowding_is_the_mean_pass_over_an_empty_one() -> None:
    """1 / (1 - u), u being the share of the time that the requests' own work takes."""
    per_s, estimate = 7.0, accepting(0.7)
    steps = 200 / estimate.lengths[3]
    added_s = TIME.per_request + TIME.per_drafted * 3
    busy = per_s * (steps * added_s + 100 * TIME.per_prefill)
    assert 0.5 < busy < 0.9
    found = sent(COPYING, per_s).of(COPYING, 300.0)
    assert found.cap is None
    assert found.crowding == pytest.approx(1 / (1 - busy), rel=0.1)


def test_more_than_fits_is_as_crowded_as_can_be() -> None:
    """A bound, not infinity."""
    assert sent(COPYING, 40.0, seconds=60.0).of(COPYING, 60.0).crowding == 5.0


def test_the_cap_falls_as_the_load_rises() -> None:
    """Each request is left its own k in an empty pool; a full one drafts least."""
    caps = [sent(MODEL, per_s).of(MODEL, 300.0).cap for per_s in (0.2, 2.0, 8.0, 14.0)]
    assert caps[0] is None
    assert all(cap is not None for cap in caps[1:])
    assert caps[1:] == sorted(caps[1:], reverse=True, key=lambda cap: cap or 0)
    assert caps[1] != caps[3]


def test_the_cap_is_the_best_uniform_k() -> None:
    """Of the mean decode times S t0 / (1 - u), every one computed by hand."""
    per_s, estimate = 6.0, accepting(0.6)
    times = {}
    for k in range(9):
        steps = 200 / estimate.lengths[k]
        busy = per_s * (steps * (TIME.per_request + TIME.per_drafted * k) + 100 * TIME.per_prefill)
        times[k] = steps * (TIME.base + TIME.per_asked * max(1, k)) / (1 - busy) if busy < 0.95 else 1e9
    cap = sent(MODEL, per_s, alpha=0.6).of(MODEL, 300.0).cap
    assert cap is not None
    assert times[cap] == pytest.approx(min(times.values()), rel=0.02)


def test_the_cap_stays_for_a_small_gain() -> None:
    """Every change makes a mixed batch for as long as a request lasts."""
    crowds, estimates, now_s, caps = Crowds(), (accepting(0.60), accepting(0.62)), 0.0, []
    for number in range(6000):
        now_s = number / 6.0
        estimate = estimates[(number // 300) % 2]
        crowds.sent(score(MODEL, estimate, 2), estimate, WORK, now_s)
        caps.append(crowds.of(MODEL, now_s).cap)
    assert len(set(caps[600:])) == 1


def test_requests_keep_to_the_cap_and_price_it() -> None:
    """A k beyond is not offered, also where a lone one is in flight; none at all where the cap is 0."""
    lone = StepLoad(requests=4, verifying=1.0, drafted=16, asked=7)
    pool = replace(MODEL, in_flight=4, work=lone, length=9.0)
    found = {
        cap: decide(
            context(
                policy=policy(mode="adaptive"),
                pools=(replace(pool, cap=cap),),
                estimates={"draft": accepting(0.7)},
            )
        )
        for cap in (None, 2, 0)
    }
    assert {score.k for score in found[2].scores} == {0, 1, 2}
    assert {score.k for score in found[0].scores} == {0}
    assert found[0].route == "vanilla"
    uncapped = next(score for score in found[None].scores if score.k == 1)
    capped = next(score for score in found[2].scores if score.k == 1)
    assert capped.decode_s < uncapped.decode_s


@given(st.lists(st.tuples(st.floats(-100, 1e5), st.floats(0, 1), st.integers(0, 8)), max_size=40))
def test_whatever_comes_the_figures_are_sane(requests: list[tuple[float, float, int]]) -> None:
    """Clocks that go back included."""
    crowds = Crowds()
    for now_s, alpha, k in requests:
        crowds.sent(score(MODEL, accepting(alpha), k), accepting(alpha), WORK, now_s)
        found = crowds.of(MODEL, now_s)
        assert found.cap is None or 0 <= found.cap <= MODEL.max_k
        assert 1.0 <= found.crowding <= 5.0
