"""Holdout and exploration, with exact propensities."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from deciding import COSTLY, DRAFT, NEVER, NGRAM, VANILLA, accepting, arm, context, policy
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.cost import StepTime
from policies.decide import Context, Last, Pool, Reason, decide

pytestmark = pytest.mark.unit


def exploring(share: float = 0.02, **spec: Any) -> Any:
    return policy(**{"mode": "threshold", "exploration": {"share": share, "max_share": 0.1}, **spec})


def test_a_holdout_is_vanilla_and_remembers_what_evidence_favours() -> None:
    """Its propensity is its share, and more where vanilla was favoured anyway."""
    held = policy(mode="threshold", holdout={"share": 0.1})
    taken = decide(context(0.9, policy=held, draws=(0.099, 0.0, 0.0)))
    assert (arm(taken), taken.reason, taken.settled) == (("vanilla", 0), Reason.HOLDOUT, "speculative")
    assert taken.propensity == pytest.approx(0.1)
    assert decide(context(0.9, policy=held)).propensity == pytest.approx(0.9)
    assert decide(context(0.2, policy=held, draws=(0.0, 0.0, 0.0))).propensity == pytest.approx(1.0)


def test_exploration_speculates_where_vanilla_was_favoured() -> None:
    """At the default k; what is remembered stays vanilla, and a sure loser is tried by the least share."""
    taken = decide(context(0.01, policy=exploring(), draws=(0.9, 0.0199, 0.5)))
    assert (arm(taken), taken.reason, taken.settled) == (("ngram", 4), Reason.EXPLORATION, "vanilla")
    assert taken.propensity == pytest.approx(0.02, rel=0.01)
    assert decide(context(0.01, policy=exploring(), draws=(0.9, 0.021, 0.5))).route == "vanilla"


def test_the_better_of_several_arms_is_tried_more_often() -> None:
    """Chances follow the probability to be better than what was decided; none is left out."""
    estimates = {"ngram": accepting(0.15, spread=0.05), "draft": accepting(0.05)}
    pools = (VANILLA, NGRAM, DRAFT)
    taken = [
        decide(context(policy=exploring(), pools=pools, estimates=estimates, draws=(0.9, 0.0, u)))
        for u in (0.0, 0.999)
    ]
    assert [decision.profile for decision in taken] == ["ngram", "draft"]
    assert taken[0].propensity > 5 * taken[1].propensity > 0


def test_exploration_is_spent_where_the_posterior_straddles_break_even() -> None:
    """Up to max_share in doubt, down to share where the answer is known."""
    in_doubt = context(estimates={"ngram": accepting(0.09, spread=0.08)}, policy=exploring())
    settled = context(estimates={"ngram": accepting(0.01, spread=0.001)}, policy=exploring())
    shares = [1 - decide(case).propensity for case in (in_doubt, settled)]
    assert 0.06 < shares[0] <= 0.1
    assert shares[1] == pytest.approx(0.02, rel=0.01)


def test_exploration_waits_for_traffic() -> None:
    """What is learned from the first request of a rare task would be forgotten before the second."""
    rare, busy = (
        1 - decide(context(0.01, policy=exploring(), recent_requests=n)).propensity for n in (0.0, 1e6)
    )
    assert rare < busy / 5
    assert busy == pytest.approx(0.02, rel=0.01)


def test_exploration_goes_upward_where_speculation_was_favoured() -> None:
    """Only our own cap hides positions, so the largest k shows most; k fixed by the policy stays fixed."""
    costly = (VANILLA, NGRAM._replace(step_time=COSTLY))
    favoured = decide(context(0.7, policy=exploring(), pools=costly))
    assert 0 < favoured.k < 5
    tried = {
        arm(decide(context(0.7, policy=exploring(), pools=costly, draws=(0.9, 0.0, u)))) for u in (0.0, 0.99)
    }
    assert tried == {("ngram", 5)}
    fixed = exploring(k={"mode": "fixed", "default": 2})
    assert decide(context(0.7, policy=fixed, pools=costly, draws=(0.9, 0.0, 0.0))).propensity == 1.0


def test_plain_decoding_is_explored_only_where_it_may_be_the_better() -> None:
    """What it takes is known from the passes of others; a sure gain is not given away to learn nothing."""
    doubtful = {"ngram": accepting(0.12, spread=0.1)}
    bold = exploring(mode="adaptive", objective={"min_speedup": 1.0, "confidence": 0.5})
    taken = decide(context(estimates=doubtful, policy=bold, draws=(0.9, 0.0, 0.99)))
    assert (arm(taken), taken.reason) == (("vanilla", 0), Reason.EXPLORATION)
    sure = decide(context(0.7, policy=bold, draws=(0.9, 0.0, 0.99)))
    assert sure.k > 0


def test_a_model_drafter_is_explored_one_position_at_a_time_and_not_beyond_its_crowds_cap() -> None:
    """A lone large k is everybody's cost."""
    estimates = {"draft": accepting(0.5)}
    for pool, expected in ((DRAFT, 1), (DRAFT._replace(cap=2), 0)):
        decided = decide(
            context(policy=exploring(mode="adaptive"), pools=(VANILLA, pool), estimates=estimates)
        )
        explored = decide(
            context(
                policy=exploring(mode="adaptive"),
                pools=(VANILLA, pool),
                estimates=estimates,
                draws=(0.9, 0.0, 0.0),
            )
        )
        assert decided.k > 0
        assert explored.k - decided.k == expected


def test_a_model_drafter_without_evidence_is_tried_on_the_k_that_promises_most() -> None:
    """A k that cannot pay would teach no more of the first position, cost more, and hide what a small one saves."""
    estimates = {"draft": accepting(0.3, steps=10)}
    drafting = DRAFT._replace(step_time=StepTime(base=0.02, wide=0.002, per_asked=0.004))
    for mode, expected in (("adaptive", 1), ("threshold", 4)):
        explored = decide(
            context(
                policy=exploring(mode=mode, objective={"min_speedup": 2.0}),
                pools=(VANILLA._replace(step_time=StepTime(base=0.02)), drafting),
                estimates=estimates,
                draws=(0.9, 0.0, 0.0),
            )
        )
        assert (arm(explored), explored.reason) == (("draft", expected), Reason.EXPLORATION)


def test_thin_evidence_is_explored_more_and_first() -> None:
    """By max_share, on the pools that need it."""
    estimates = {"ngram": accepting(0.8), "draft": accepting(0.1, steps=10)}
    pools = (VANILLA, NGRAM, DRAFT)
    taken = decide(context(policy=exploring(), pools=pools, estimates=estimates, draws=(0.9, 0.099, 0.0)))
    assert (arm(taken), taken.propensity) == (("draft", 4), pytest.approx(0.1))


def test_a_share_of_zero_never_explores() -> None:
    """Not even where evidence is thin."""
    cautious = policy(mode="threshold", exploration={"share": 0.0, "max_share": 1.0})
    taken = decide(context(0.2, steps=0, policy=cautious, draws=(0.0, 0.0, 0.0)))
    assert (taken.route, taken.propensity) == ("vanilla", 1.0)


@pytest.mark.parametrize("pool", [NGRAM._replace(in_flight=8), NGRAM._replace(available=False)])
def test_pools_without_room_are_not_explored(pool: Pool) -> None:
    """An experiment must not wait, nor fail."""
    explores = policy(mode="threshold", exploration={"share": 1.0, "max_share": 1.0})
    taken = decide(context(0.2, policy=explores, pools=(VANILLA, pool)))
    assert (taken.route, taken.propensity) == ("vanilla", 1.0)


TENTHS = st.integers(0, 10).map(lambda n: n / 10)
STEPS = st.sampled_from([0.0, 1000.0])
CONTEXTS = st.builds(
    lambda holdout, shares, mode, k_mode, override, pools, rates, steps, last, wanted, unsupported: Context(
        policy=policy(
            mode=mode,
            allow_overrides=override,
            holdout={"share": holdout},
            exploration={"share": min(shares), "max_share": max(shares)},
            k={"mode": k_mode},
        ),
        pools=(VANILLA, *pools),
        estimates={name: accepting(rate, steps=steps[name]) for name, rate in rates.items()},
        draws=NEVER,
        last=last and Last(last),
        wanted_k=wanted,
        unsupported=unsupported,
    ),
    TENTHS,
    st.tuples(TENTHS, TENTHS),
    st.sampled_from(["adaptive", "adaptive", "threshold", "shadow", "always_speculative", "always_vanilla"]),
    st.sampled_from(["adaptive", "fixed", "engine"]),
    st.booleans(),
    st.lists(
        st.builds(
            lambda pool, available, full: pool._replace(available=available, in_flight=8 * full),
            st.sampled_from([NGRAM, DRAFT]),
            st.booleans(),
            st.booleans(),
        ),
        unique_by=lambda pool: pool.profile,
    ),
    st.fixed_dictionaries({}, optional={"ngram": st.floats(0, 1), "draft": st.floats(0, 1)}),
    st.fixed_dictionaries({"ngram": STEPS, "draft": STEPS}),
    st.sampled_from([None, "speculative", "vanilla"]),
    st.sampled_from([None, None, 0, 3]),
    st.booleans(),
)


@settings(max_examples=15, deadline=None)
@given(CONTEXTS)
def test_propensities_are_the_frequencies_of_the_arms(case: Context) -> None:
    """Over a fine grid of draws, the share of an arm agrees with the propensity it reports."""
    grid = [(n + 0.5) / 12 for n in range(12)]
    taken = [decide(replace(case, draws=draws)) for draws in product(grid, repeat=3)]
    frequencies = Counter(arm(decision) for decision in taken)
    reported = {arm(decision): decision.propensity for decision in taken}
    for name, count in frequencies.items():
        assert reported[name] == pytest.approx(count / len(taken), abs=0.1)
    assert sum(reported.values()) <= 1 + 1e-9
    assert len({(arm(decision), decision.propensity) for decision in taken}) == len(frequencies)


@settings(max_examples=150, deadline=None)
@given(CONTEXTS, st.tuples(*[st.floats(0, 1, exclude_max=True)] * 3))
def test_every_decision_can_be_served(case: Context, draws: tuple[float, float, float]) -> None:
    """On an available pool, with a k it and the policy have, and the same one whenever it is asked again."""
    taken = decide(replace(case, draws=draws))
    pool = next(pool for pool in case.pools if pool.profile == taken.profile)
    assert pool.available
    assert 0 <= taken.k <= min(pool.max_k, case.policy.k.max)
    assert 0 < taken.propensity <= 1 + 1e-9
    assert decide(replace(case, draws=draws)) == taken
