"""What the dashboard adds up of the last hour, and the speedups it tells from that."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from boards import seen
from fakes import Harness, ending, whole
from hypothesis import given
from hypothesis import strategies as st

from policies.cost import Accuracy
from policies.savings import Observation
from router.dashboard import tally
from router.dashboard.speedup import speedup
from router.dashboard.tally import WINDOW_S, Activity, Seen, Tally

pytestmark = pytest.mark.unit

REQUESTS = st.lists(
    st.tuples(
        st.floats(0, 3 * WINDOW_S),
        st.sampled_from(["code", "chat"]),
        st.sampled_from(["acme", "globex", "initech"]),
        st.integers(0, 8),
    ),
    max_size=60,
)


@given(REQUESTS)
def test_totals_are_those_of_the_last_hour(requests: list[tuple[float, str, str, int]]) -> None:
    """At most five minutes less than an hour, never more: as if only these had been counted."""
    activity = Activity()
    requests = sorted(requests)
    for at_s, task, tenant, k in requests:
        activity.add(seen(task, tenant, k), at_s)
    now_s = requests[-1][0] if requests else 0.0
    begin_s = activity.since_s()
    kept = [one for one in requests if begin_s is not None and one[0] >= begin_s]
    assert all(one[0] > now_s - WINDOW_S for one in kept)
    assert all(one in kept for one in requests if one[0] > now_s - WINDOW_S * 11 / 12)
    for tenant in (None, "acme", "globex", "initech"):
        told = activity.of(tenant)
        wanted = [one for one in kept if tenant in {None, one[2]}]
        assert sum(one.requests for one in told.values()) == len(wanted)
        assert sum(one.speculative for one in told.values()) == sum(one[3] > 0 for one in wanted)
        assert sum(sum(one.arms.values()) for one in told.values()) == len(wanted)


def test_an_hour_later_nothing_is_left() -> None:
    """No empty rows, no reasons with a count of 0, no tenants who are gone."""
    activity = Activity()
    observed = Observation("holdout", 0.1, completed=True, tokens=9, decode_s=1.0, completion_s=1.5)
    activity.add(seen(observed=observed, plain_s=2.0, decode_s=1.0), 0.0)
    activity.forget(WINDOW_S)
    assert activity.of(None) == activity.by_tenant() == {}
    assert activity.since_s() is None


def test_what_is_taken_off_leaves_what_is_there() -> None:
    """A request that leaves takes its own part with it: of savings and of comparisons too."""
    activity = Activity()
    observed = Observation("routed", 0.1, completed=True, tokens=9, decode_s=1.0, completion_s=1.5)
    for at_s in (0.0, WINDOW_S - 1):
        activity.add(seen(observed=observed, plain_s=2.0, decode_s=1.0), at_s)
    activity.forget(WINDOW_S)
    alone = Activity()
    alone.add(seen(observed=observed, plain_s=2.0, decode_s=1.0), WINDOW_S - 1)
    assert activity.of("acme") == alone.of("acme")


def test_tenants_beyond_the_cap_count_in_their_tasks() -> None:
    """Memory is bounded: the rest is nobody's by name."""
    activity = Activity()
    for number in range(tally._MAX_KEYS + 500):
        activity.add(seen(tenant=f"tenant-{number}"), 0.0)
    assert activity.of(None)["code"].requests == tally._MAX_KEYS + 500
    assert len(activity.by_tenant()) < tally._MAX_KEYS


def tasks_of(requests: list[Seen]) -> dict[str, Tally]:
    activity = Activity()
    for one in requests:
        activity.add(one, 0.0)
    return activity.of(None)


def observed_of(rng: random.Random, group: str, pace_s: float) -> Observation:
    tokens = rng.randint(20, 60)
    seconds = pace_s * (tokens - 1) * rng.lognormvariate(0.0, 0.2)
    return Observation(
        "holdout" if group == "holdout" else "routed",
        0.2,
        completed=True,
        tokens=tokens,
        decode_s=seconds,
        completion_s=seconds + 0.1,
    )


def test_a_holdout_tells_the_speedup() -> None:
    """Twice as fast, as the savings report would say it; the basis is named and the interval holds it."""
    rng = random.Random(1)
    requests = [seen(k=0, observed=observed_of(rng, "holdout", 0.02)) for _ in range(200)]
    requests += [seen(observed=observed_of(rng, "routed", 0.01)) for _ in range(800)]
    found = speedup(tasks_of(requests))
    assert found is not None
    assert (found.basis, found.requests, found.plain) == ("holdout", 800, 200)
    assert found.lower < 2.0 < found.upper
    assert found.saved_s[1] < found.saved_s[0] < found.saved_s[2]


def test_without_a_holdout_predictions_tell_it() -> None:
    """Expected plain time over measured time, all requests together; plain ones compare with themselves."""
    requests = [seen(plain_s=3.0 + 0.1 * (number % 3), decode_s=1.0) for number in range(20)]
    requests += [seen(k=0, plain_s=1.0, decode_s=1.0) for _ in range(20)]
    found = speedup(tasks_of(requests))
    assert found is not None
    assert (found.basis, found.requests, found.plain) == ("predicted", 40, 0)
    assert found.estimate == pytest.approx((20 * 3.1 + 20) / 40, rel=0.02)
    assert found.lower < found.estimate < found.upper
    assert found.saved_s[0] == pytest.approx(40 * (found.estimate - 1))


def test_doubt_about_predictions_widens_the_interval() -> None:
    """What corrects them is itself measured."""
    sure, unsure = (
        speedup(tasks_of([seen(plain_s=2.0, decode_s=1.0, doubt=doubt) for _ in range(50)]))
        for doubt in (0.0, 0.01)
    )
    assert sure is not None
    assert unsure is not None
    assert (sure.lower, sure.upper) == pytest.approx((2.0, 2.0))
    assert unsure.lower < 1.75
    assert unsure.upper > 2.25


def test_too_few_requests_tell_nothing() -> None:
    """Nine are an anecdote."""
    assert speedup(tasks_of([seen(plain_s=2.0, decode_s=1.0)] * 9)) is None
    assert speedup({}) is None


async def test_an_outcome_is_compared_with_what_plain_decoding_should_take(tmp_path: Path) -> None:
    """Corrected by how far plain predictions were off; nothing before any was measured."""
    harness = await Harness(tmp_path).ready()
    harness.ngram.scripts = [[whole(ending=ending(decode_s=0.1))]]
    await harness.answer()
    (outcome,) = harness.outcomes
    nothing = tally.seen(outcome, lambda *_: None)
    assert (nothing.plain_s, nothing.key.tenant, nothing.arm[0]) == (0.0, "anonymous", "ngram")
    exact, slow = (tally.seen(outcome, lambda *_, r=ratio: Accuracy(r, 0.2, 4.0)) for ratio in (1.0, 2.0))
    assert slow.plain_s > 0
    assert exact.plain_s == pytest.approx(2 * slow.plain_s)
    assert (exact.decode_s, exact.doubt) == (0.1, pytest.approx(0.01))
    assert tally.seen(replace(outcome, failovers=1), lambda *_: Accuracy(1, 0, 1)).plain_s == 0
    assert tally.seen(replace(outcome, result="cancelled"), lambda *_: Accuracy(1, 0, 1)).plain_s == 0
