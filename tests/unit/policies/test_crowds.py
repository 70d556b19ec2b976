"""How crowded a pool is, and one k for all where the drafter is a model."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from deciding import DRAFT, NGRAM, accepting, context, policy
from hypothesis import given
from hypothesis import strategies as st

from policies.acceptance import Estimate
from policies.cost import StepLoad, StepTime
from policies.crowds import NOT_CROWDED, Crowd, Crowds
from policies.decide import Pool, Score, Work, decide

pytestmark = pytest.mark.unit

TIME = StepTime(base=0.010, per_request=0.0002, per_drafted=0.0004, per_asked=0.001, per_prefill=0.00002)
MODEL = DRAFT._replace(step_time=TIME, capacity=256)
COPYING = NGRAM._replace(step_time=TIME._replace(per_asked=0.0), capacity=256)
WORK = Work(prompt_tokens=100, output_tokens=201)


def score(pool: Pool, estimate: Estimate, k: int) -> Score:
    lengths = (estimate.lengths[k], estimate.drafted[k], estimate.proposing[k])
    return Score(pool.profile, k, 1.0, 0.0, 0.0, 0.1, 1.0, *lengths, meets_objective=True, measured=True)


def met(
    pool: Pool, *, alphas: Sequence[float] = (0.7,), per_s: float = 5.0, k: int = 3, requests: int = 1500
) -> list[Crowd]:
    """What requests met in a pool that gets `per_s` of them per second, their acceptance in turn `alphas`."""
    crowds, found = Crowds(), []
    for number in range(requests):
        now_s, estimate = number / per_s, accepting(alphas[number % len(alphas)])
        crowds.refresh(now_s)
        found.append(crowds.met(pool, now_s))
        cell = ("acme", f"task-{number % len(alphas)}" if len(alphas) < 10 else "code")
        crowds.sent(score(pool, estimate, k), estimate, WORK, now_s, cell=cell)
    return found


def test_an_empty_pool_is_not_crowded() -> None:
    """Neither before the first request, nor when one comes now and then."""
    assert Crowds().met(MODEL, 0.0) == NOT_CROWDED
    for pool in (MODEL, COPYING):
        found = met(pool, per_s=0.1)[-1]
        assert (found.cap, found.overloaded, found.chunk) == (None, False, pytest.approx(100))
        assert found.crowding == pytest.approx(1.0, abs=0.02)
        assert found.reading < 0.02


def test_crowding_is_the_mean_pass_over_an_empty_one() -> None:
    """1 / (1 - u), u being the share of the time that the requests' own work takes."""
    per_s, steps = 6.0, 200 / accepting(0.7).lengths[3]
    added_s = TIME.per_request + TIME.per_drafted * 3
    busy = per_s * (steps * added_s + 100 * TIME.per_prefill)
    assert 0.5 < busy < 0.9
    found = met(COPYING, per_s=per_s)[-1]
    assert (found.cap, found.crowding) == (None, pytest.approx(1 / (1 - busy), rel=0.1))


def test_more_than_fits_is_as_crowded_as_can_be() -> None:
    """A bound, not infinity; and it is told, since there the queueing formula no longer holds."""
    for pool in (MODEL, COPYING):
        found = met(pool, per_s=40.0)[-1]
        assert (found.crowding, found.overloaded) == (5.0, True)
    assert not met(COPYING, per_s=6.0)[-1].overloaded


def test_the_cap_is_the_best_uniform_k_of_the_mix_for_the_batch() -> None:
    """Time per token of a pass of everybody, computed by hand; larger batches draft less."""
    caps = []
    for in_flight in (1, 7, 63):
        estimates = [accepting(0.5), accepting(0.8)]
        times = []
        for k in range(9):
            mean_steps = sum(1 / estimate.lengths[k] for estimate in estimates) / 2
            batch = 1 + in_flight
            step_s = TIME.seconds(StepLoad(batch, float(k > 0), batch * k, max(1, k), batch * 200.5))
            times.append(step_s * mean_steps)
        pool = MODEL._replace(in_flight=in_flight)
        cap = met(pool, alphas=(0.5, 0.8))[-1].cap
        assert cap is not None
        assert times[cap] == pytest.approx(min(times), rel=0.021)
        caps.append(cap)
    assert caps == sorted(caps, reverse=True)
    assert caps[0] > caps[-1]


def balanced(k: int, per_s: float) -> float:
    """The batch of MODEL on k by Little's law, in closed form since TIME is straight; infinite beyond what fits."""
    steps = 200 / accepting(0.7).lengths[k]
    alone_s = TIME.base + TIME.per_asked * max(1, k)
    busy = per_s * (steps * (TIME.per_request + TIME.per_drafted * k) + 100 * TIME.per_prefill)
    return per_s * steps * alone_s / (1 - busy) if busy < 1 else float("inf")


@pytest.mark.parametrize("per_s", [3.0, 6.0, 8.0, 9.5])
def test_the_cap_is_the_best_once_the_batch_has_followed(per_s: float) -> None:
    """Requests that always meet the batch their cap leads to settle on nearly the fewest in flight."""
    crowds, estimate, crowd = Crowds(), accepting(0.7), NOT_CROWDED
    for number in range(2500):
        now_s = number / per_s
        k = 3 if crowd.cap is None else crowd.cap
        pool = MODEL._replace(in_flight=round(min(200.0, balanced(k, per_s))))
        crowds.refresh(now_s)
        crowd = crowds.met(pool, now_s)
        crowds.sent(score(pool, estimate, k), estimate, WORK, now_s, cell=("acme", "code"))
    assert crowd.cap is not None
    assert balanced(crowd.cap, per_s) <= 1.05 * min(balanced(k, per_s) for k in range(9))


def test_the_cap_follows_what_is_believed_at_once() -> None:
    """Votes remember the load, not the acceptance; and while nothing changes nothing moves."""
    pool = MODEL._replace(in_flight=7)
    good, bad = (0.8,) * 1500, (0.3,) * 1500
    caps = [found.cap for found in met(pool, alphas=good + bad, requests=3000)]
    assert len(set(caps[300:1500])) == 1
    assert caps[1499] is not None
    assert caps[-1] is not None
    assert caps[-1] < caps[1499]
    assert caps[1505] == caps[-1]


def test_the_cap_does_not_flip_with_every_burst() -> None:
    """Requests that meet a full engine weigh more, so bursts that come again settle on the smaller k, once."""
    crowds, estimate, caps = Crowds(), accepting(0.7), []
    for number in range(3000):
        in_flight = 60 if number > 600 and number % 150 < 15 else 4
        pool = MODEL._replace(in_flight=in_flight)
        crowds.refresh(number / 5.0)
        crowd = crowds.met(pool, number / 5.0)
        crowds.sent(score(pool, estimate, 3), estimate, WORK, number / 5.0, cell=("acme", "code"))
        if number > 300:
            caps.append(crowd.cap)
    changes = sum(before != after for before, after in pairwise(caps))
    assert changes <= 2


def test_requests_keep_to_the_cap_and_price_it() -> None:
    """A k beyond is not offered, also where a lone one is in flight; none at all where the cap is 0."""
    lone = StepLoad(requests=4, verifying=1.0, drafted=16, asked=7)
    pool = MODEL._replace(in_flight=4, work=lone, length=9.0)
    found = {
        cap: decide(
            context(
                policy=policy(mode="adaptive"),
                pools=(pool._replace(cap=cap),),
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
        crowds.sent(score(MODEL, accepting(alpha), k), accepting(alpha), WORK, now_s, cell=("acme", "code"))
        crowds.refresh(now_s)
        found = crowds.met(MODEL, now_s)
        assert found.cap is None or 0 <= found.cap <= MODEL.max_k
        assert 1.0 <= found.crowding <= 5.0
