"""Decisions: modes, the band, chance with exact propensities, overrides, and pools that are away or full."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.acceptance import Estimate
from policies.decide import Context, Decision, NoPoolError, Pool, Reason, best_k, decide
from policies.resolve import EffectivePolicy, resolve
from policies.schema import RoutingPolicy
from policies.speedup import StepCost, speedup

pytestmark = pytest.mark.unit

CHEAP = StepCost(verify=0.1, per_token=0.01, per_draft_token=0.0)
VANILLA = Pool("vanilla", 0, CHEAP, capacity=8)
NGRAM = Pool("ngram", 5, CHEAP, capacity=8)
DRAFT = Pool("draft", 8, StepCost(0.1, 0.01, 0.1), capacity=8)
NEVER = (0.999, 0.999, 0.0)


def policy(**spec: Any) -> EffectivePolicy:
    values = {"exploration": {"share": 0.0}, **spec}
    document = {
        "apiVersion": "specroute/v1", "kind": "RoutingPolicy", "metadata": {"name": "test"}, "spec": values,
    }  # fmt: skip
    return resolve(RoutingPolicy.model_validate(document), tenant="acme", task="code")


def accepting(alpha: float, *, steps: float = 1000.0, reference_k: int = 4) -> Estimate:
    return Estimate((alpha,), (1.0,), (0.01,), reference_k, evidence_steps=steps, own_steps=steps)


def context(alpha: float = 0.8, *, steps: float = 1000.0, **changes: Any) -> Context:
    values: dict[str, Any] = {
        "policy": policy(),
        "pools": (VANILLA, NGRAM),
        "estimates": {"ngram": accepting(alpha, steps=steps)},
        "draws": NEVER,
    }
    return Context(**{**values, **changes})


def arm(decision: Decision) -> tuple[str, int]:
    return decision.profile, decision.k


# The band


@pytest.mark.parametrize(
    ("alpha", "last", "route", "reason"),
    [
        (0.60, None, "speculative", Reason.ALPHA_ABOVE),
        (0.60, "vanilla", "speculative", Reason.ALPHA_ABOVE),
        (0.59, "speculative", "speculative", Reason.HYSTERESIS),
        (0.59, "vanilla", "vanilla", Reason.HYSTERESIS),
        (0.59, None, "vanilla", Reason.HYSTERESIS),
        (0.51, "speculative", "speculative", Reason.HYSTERESIS),
        (0.49, "speculative", "vanilla", Reason.ALPHA_BELOW),
        (0.00, None, "vanilla", Reason.ALPHA_BELOW),
        (1.00, None, "speculative", Reason.ALPHA_ABOVE),
    ],
)
def test_the_band_switches_and_between_its_ends_the_last_choice_stands(
    alpha: float, last: Any, route: str, reason: Reason
) -> None:
    """Enable at 0.60, disable below 0.50."""
    taken = decide(context(alpha + 1e-6 if alpha == 0.60 else alpha, last=last))
    assert (taken.route, taken.reason, taken.settled) == (route, reason, route)


def test_a_rate_that_wanders_through_the_band_switches_twice() -> None:
    """Up and down again: once on, once off, and no flapping between."""
    last, routes = None, []
    for alpha in (0.4, 0.55, 0.59, 0.61, 0.55, 0.51, 0.55, 0.49, 0.55, 0.59):
        last = decide(context(alpha, last=last)).settled
        routes.append(last == "speculative")
    assert routes == [False] * 3 + [True] * 4 + [False] * 3


@pytest.mark.parametrize("alpha", [0.4, 0.55, 0.9])
def test_too_little_evidence_is_a_cold_start(alpha: float) -> None:
    """The same comparison under another reason, until the task has min_steps steps."""
    cold, warm = decide(context(alpha, steps=49)), decide(context(alpha, steps=50))
    assert cold.reason is Reason.COLD_START
    assert warm.reason is not Reason.COLD_START
    assert replace(cold, reason=warm.reason) == warm


def test_alpha_is_compared_at_the_default_k() -> None:
    """The estimate's effective acceptance; what the drafts read at their own k does not matter."""
    bursty = Estimate((0.35, 0.9), (1.0, 1.0), (0.01, 0.01), 4, 1000.0, draft_acceptance_rate=0.99)
    taken = decide(context(estimates={"ngram": bursty}))
    assert taken.alpha == bursty.alpha
    assert 0.5 < bursty.alpha < 0.6
    assert taken.reason is Reason.HYSTERESIS


def test_the_draft_acceptance_rate_can_be_compared_instead() -> None:
    """As expected at k.default: constant 0.75 reads 0.51 there."""
    metric = policy(threshold={"metric": "draft_acceptance_rate"})
    assert decide(context(0.75)).reason is Reason.ALPHA_ABOVE
    assert decide(context(0.75, policy=metric)).reason is Reason.HYSTERESIS
    assert decide(context(0.70, policy=metric)).reason is Reason.ALPHA_BELOW


def test_a_rejected_speculation_is_accounted_for() -> None:
    """Vanilla shows the alpha it was compared with, and the speedup that was given up."""
    taken = decide(context(0.3))
    assert (arm(taken), taken.alpha) == (("vanilla", 0), pytest.approx(0.3))
    assert taken.expected_speedup is not None


# Which k, which pool


@pytest.mark.parametrize("alpha", [0.3, 0.6, 0.9])
def test_the_best_k_has_the_greatest_speedup(alpha: float) -> None:
    """Within the bounds of the policy and of the pool."""
    k, gain = best_k(accepting(alpha), DRAFT, policy(k={"min": 2, "max": 6}))
    gains = {k: speedup((alpha,), (1.0,), k, DRAFT.step_cost) for k in range(2, 7)}
    assert gain == pytest.approx(max(gains.values()))
    assert gains[k] == pytest.approx(gain)


def test_ties_go_to_the_smaller_k() -> None:
    """Drafts that are never accepted and cost nothing: the batch keeps its room."""
    free = replace(NGRAM, step_cost=StepCost(0.0, 0.0, 0.0))
    assert best_k(accepting(0.0), free, policy()) == (1, 1.0)


@pytest.mark.parametrize(
    ("k", "expected"),
    [
        ({"mode": "fixed"}, 4),
        ({"mode": "fixed", "default": 7}, 5),
        ({"min": 7}, 5),
        ({"max": 3}, 3),
        ({"mode": "fixed", "max": 3}, 3),
    ],
)
def test_k_stays_within_what_policy_and_pool_allow(k: dict[str, Any], expected: int) -> None:
    """Fixed is the default; a pool of 5 has no 7."""
    assert best_k(accepting(0.99), NGRAM, policy(k=k))[0] == expected


def test_the_pool_that_gains_most_is_taken() -> None:
    """Among those with an estimate."""
    pools, estimates = (VANILLA, NGRAM, DRAFT), {"ngram": accepting(0.7), "draft": accepting(0.9)}
    assert decide(context(pools=pools, estimates=estimates)).profile == "draft"
    assert decide(context(pools=pools, estimates={"ngram": accepting(0.7)})).profile == "ngram"


# Modes


def test_always_vanilla_and_always_speculative_leave_no_choice() -> None:
    """Neither evidence nor chance is asked, and a full pool is waited for."""
    full = replace(NGRAM, in_flight=8)
    chance = {"exploration": {"share": 1.0, "max_share": 1.0}, "holdout": {"share": 1.0}}
    always = decide(context(0.1, policy=policy(mode="always_speculative", **chance), pools=(VANILLA, full)))
    never = decide(context(0.9, policy=policy(mode="always_vanilla", **chance)))
    assert (always.profile, always.reason, always.propensity) == ("ngram", Reason.MODE, 1.0)
    assert (arm(never), never.reason, never.propensity) == (("vanilla", 0), Reason.MODE, 1.0)


@pytest.mark.parametrize(("alpha", "route"), [(0.9, "speculative"), (0.2, "vanilla")])
def test_shadow_serves_vanilla_and_says_what_it_would_have_done(alpha: float, route: str) -> None:
    """Hysteresis goes on as if it had; nothing is left to chance."""
    shadow = policy(mode="shadow", holdout={"share": 0.5}, exploration={"share": 0.5, "max_share": 0.5})
    served = decide(context(alpha, policy=shadow, draws=(0.0, 0.0, 0.0)))
    would = decide(context(alpha))
    assert (arm(served), served.reason, served.propensity) == (("vanilla", 0), Reason.SHADOW, 1.0)
    assert (served.intended, served.settled, served.alpha) == (arm(would), route, would.alpha)


# What requests ask for


def asked(alpha: float = 0.2, **wanted: Any) -> Decision:
    return decide(context(alpha, policy=policy(allow_overrides=True, k={"max": 6}), **wanted))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"wanted_route": "vanilla"}, ("vanilla", 0)),
        ({"wanted_k": 0}, ("vanilla", 0)),
        ({"wanted_route": "speculative", "wanted_k": 0}, ("vanilla", 0)),
        ({"wanted_route": "vanilla", "wanted_k": 3}, ("vanilla", 0)),
        ({"wanted_k": 3}, ("ngram", 3)),
        ({"wanted_route": "speculative", "wanted_k": 1}, ("ngram", 1)),
        ({"wanted_k": 32}, ("ngram", 5)),
    ],
)
def test_an_override_is_taken_as_far_as_the_pool_goes(
    wanted: dict[str, Any], expected: tuple[str, int]
) -> None:
    """Against the evidence; k 0 is vanilla."""
    taken = asked(**wanted)
    assert (arm(taken), taken.reason, taken.propensity) == (expected, Reason.OVERRIDE, 1.0)
    assert taken.settled is None


def test_a_wanted_k_finds_the_pool_that_has_it_but_not_beyond_the_policy() -> None:
    """The policy's max is the operator's limit for everyone."""
    pools, estimates = (VANILLA, NGRAM, DRAFT), {"ngram": accepting(0.9), "draft": accepting(0.2)}
    assert arm(asked(wanted_k=8, pools=pools, estimates=estimates)) == ("draft", 6)
    assert arm(asked(wanted_k=5, pools=pools, estimates=estimates)) == ("ngram", 5)


def test_an_override_alone_gets_the_best_k() -> None:
    """Route without k."""
    assert arm(asked(0.9, wanted_route="speculative")) == arm(decide(context(0.9)))


def test_an_override_the_policy_does_not_allow_is_ignored() -> None:
    """Overrides are off by default."""
    assert decide(context(0.2, wanted_k=3)) == decide(context(0.2))


@pytest.mark.parametrize("mode", ["shadow", "always_vanilla", "always_speculative"])
def test_an_override_outranks_the_mode(mode: str) -> None:
    """Whoever allows overrides wants them to work, in shadow to try speculation out."""
    taken = decide(context(0.2, policy=policy(mode=mode, allow_overrides=True), wanted_k=2))
    assert (arm(taken), taken.reason) == (("ngram", 2), Reason.OVERRIDE)


def test_an_override_waits_for_a_full_pool_and_yields_to_an_absent_one() -> None:
    """The second cannot be granted, and the reason says so."""
    full, away = replace(NGRAM, in_flight=8), replace(NGRAM, available=False)
    assert arm(asked(wanted_k=2, pools=(VANILLA, full))) == ("ngram", 2)
    refused = asked(wanted_k=2, pools=(VANILLA, away))
    assert (arm(refused), refused.reason) == (("vanilla", 0), Reason.POOL_UNAVAILABLE)
    assert asked(wanted_k=2, pools=(VANILLA,)).reason is Reason.POOL_UNAVAILABLE


def test_what_speculation_cannot_serve_goes_to_a_pool_without_a_drafter() -> None:
    """Even when that one is full or an override says otherwise: an engine with a drafter refuses it."""
    full = replace(VANILLA, in_flight=99)
    taken = asked(0.9, unsupported=True, wanted_k=3, pools=(full, NGRAM))
    assert (arm(taken), taken.reason) == (("vanilla", 0), Reason.UNSUPPORTED)
    with pytest.raises(NoPoolError):
        decide(context(unsupported=True, pools=(replace(VANILLA, available=False), NGRAM)))


def test_what_speculation_cannot_serve_meets_the_engines_own_refusal_where_nothing_else_is() -> None:
    """A deployment without a plain pool lets the engine explain."""
    assert arm(decide(context(unsupported=True, pools=(NGRAM,)))) == ("ngram", 0)


# Pools that are away or full


def test_a_full_pool_yields_to_one_with_room() -> None:
    """Saturated, with the arm it would have been; what evidence favours is remembered all the same."""
    taken = decide(context(0.9, pools=(VANILLA, replace(NGRAM, in_flight=8))))
    assert (arm(taken), taken.reason, taken.settled) == (("vanilla", 0), Reason.SATURATED, "speculative")
    assert taken.intended == arm(decide(context(0.9)))


def test_where_everything_is_full_nothing_moves() -> None:
    """Waiting in the better queue is better."""
    full = replace(VANILLA, in_flight=8), replace(NGRAM, in_flight=8)
    assert decide(context(0.9, pools=full)).route == "speculative"
    assert arm(decide(context(0.2, pools=full))) == ("vanilla", 0)


def test_plain_decoding_overflows_to_a_pool_with_room() -> None:
    """There is k = 0 on every pool, and the reason for vanilla stands."""
    taken = decide(context(0.2, pools=(replace(VANILLA, in_flight=8), NGRAM)))
    assert (arm(taken), taken.reason) == (("ngram", 0), Reason.ALPHA_BELOW)


def test_an_absent_pool_is_replaced() -> None:
    """Speculation by another pool that speculates, else by vanilla; vanilla by k = 0 elsewhere."""
    away = replace(NGRAM, available=False)
    estimates = {"ngram": accepting(0.9), "draft": accepting(0.7)}
    assert decide(context(pools=(VANILLA, away, DRAFT), estimates=estimates)).profile == "draft"
    alone = decide(context(0.9, pools=(VANILLA, away)))
    assert (arm(alone), alone.reason, alone.settled) == (
        ("vanilla", 0),
        Reason.POOL_UNAVAILABLE,
        "speculative",
    )
    plain = decide(context(0.2, pools=(replace(VANILLA, available=False), NGRAM)))
    assert (arm(plain), plain.reason) == (("ngram", 0), Reason.ALPHA_BELOW)


def test_without_a_pool_that_speculates_everything_is_vanilla() -> None:
    """Whatever the estimates."""
    assert arm(decide(context(0.9, pools=(VANILLA,)))) == ("vanilla", 0)


@pytest.mark.parametrize("pools", [(), (replace(VANILLA, available=False), replace(NGRAM, available=False))])
@pytest.mark.parametrize("mode", ["threshold", "shadow", "always_vanilla", "always_speculative"])
def test_no_pool_is_an_error(pools: tuple[Pool, ...], mode: str) -> None:
    """In every mode."""
    with pytest.raises(NoPoolError):
        decide(context(0.9, policy=policy(mode=mode), pools=pools))


# Chance


def test_a_holdout_is_vanilla_and_remembers_what_evidence_favours() -> None:
    """Its propensity is its share, and more where vanilla was favoured anyway."""
    held = policy(holdout={"share": 0.1})
    taken = decide(context(0.9, policy=held, draws=(0.099, 0.0, 0.0)))
    assert (arm(taken), taken.reason, taken.settled) == (("vanilla", 0), Reason.HOLDOUT, "speculative")
    assert taken.propensity == pytest.approx(0.1)
    assert decide(context(0.9, policy=held)).propensity == pytest.approx(0.9)
    assert decide(context(0.2, policy=held, draws=(0.0, 0.0, 0.0))).propensity == pytest.approx(1.0)


def test_exploration_speculates_where_vanilla_was_favoured() -> None:
    """At the default k, on every pool that drafts; what is remembered stays vanilla."""
    explores = policy(exploration={"share": 0.02})
    estimates = {"ngram": accepting(0.2), "draft": accepting(0.1)}
    taken = [
        decide(
            context(
                policy=explores, pools=(VANILLA, NGRAM, DRAFT), estimates=estimates, draws=(0.9, 0.019, u)
            )
        )
        for u in (0.1, 0.9)
    ]
    assert [arm(decision) for decision in taken] == [("ngram", 4), ("draft", 4)]
    assert {(d.reason, d.settled, d.propensity) for d in taken} == {(Reason.EXPLORATION, "vanilla", 0.01)}


def test_exploration_goes_upward_where_speculation_was_favoured() -> None:
    """Only our own cap hides positions, so the largest k shows most; k fixed by the policy stays fixed."""
    costly = (VANILLA, replace(NGRAM, step_cost=StepCost(0.1, 0.3, 0.0)))
    explores = {"exploration": {"share": 0.05}}
    favoured = decide(context(0.7, policy=policy(**explores), pools=costly))
    assert 0 < favoured.k < 5
    assert favoured.propensity == pytest.approx(0.95)
    explored = decide(context(0.7, policy=policy(**explores), pools=costly, draws=(0.9, 0.0, 0.0)))
    assert (arm(explored), explored.reason) == (("ngram", 5), Reason.EXPLORATION)
    fixed = policy(k={"mode": "fixed", "default": 2}, **explores)
    assert decide(context(0.7, policy=fixed, pools=costly, draws=(0.9, 0.0, 0.0))).k == 2


def test_thin_evidence_is_explored_more_and_first() -> None:
    """Up to max_share, on the pools that need it."""
    explores = policy(exploration={"share": 0.02, "max_share": 0.1})
    estimates = {"ngram": accepting(0.8), "draft": accepting(0.1, steps=10)}
    pools = (VANILLA, NGRAM, DRAFT)
    taken = decide(context(policy=explores, pools=pools, estimates=estimates, draws=(0.9, 0.099, 0.0)))
    assert (arm(taken), taken.propensity) == (("draft", 4), pytest.approx(0.1))


def test_a_share_of_zero_never_explores() -> None:
    """Not even where evidence is thin."""
    cautious = policy(exploration={"share": 0.0, "max_share": 1.0})
    taken = decide(context(0.2, steps=0, policy=cautious, draws=(0.0, 0.0, 0.0)))
    assert (taken.route, taken.propensity) == ("vanilla", 1.0)


@pytest.mark.parametrize("pool", [replace(NGRAM, in_flight=8), replace(NGRAM, available=False)])
def test_pools_without_room_are_not_explored(pool: Pool) -> None:
    """An experiment must not wait, nor fail."""
    explores = policy(exploration={"share": 1.0, "max_share": 1.0})
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
        last=last,
        wanted_k=wanted,
        unsupported=unsupported,
    ),
    TENTHS,
    st.tuples(TENTHS, TENTHS),
    st.sampled_from(["threshold", "threshold", "shadow", "always_speculative", "always_vanilla"]),
    st.sampled_from(["adaptive", "fixed"]),
    st.booleans(),
    st.lists(
        st.builds(
            lambda pool, available, full: replace(pool, available=available, in_flight=8 * full),
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


@settings(max_examples=150, deadline=None)
@given(CONTEXTS)
def test_propensities_are_the_frequencies_of_the_arms(case: Context) -> None:
    """Every draw of a grid, with shares that the grid divides: frequency and propensity agree to rounding."""
    tenths, sixths = [(n + 0.5) / 10 for n in range(10)], [(n + 0.5) / 6 for n in range(6)]
    taken = [decide(replace(case, draws=draws)) for draws in product(tenths, tenths, sixths)]
    frequencies = Counter(arm(decision) for decision in taken)
    for decision in taken:
        assert decision.propensity == pytest.approx(frequencies[arm(decision)] / len(taken))


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
