"""Decisions: modes, the band, chance with exact propensities, overrides, and pools that are away or full."""

from __future__ import annotations

from typing import Any

import pytest
from deciding import DRAFT, NGRAM, VANILLA, accepting, arm, context, policy

from policies.acceptance import Estimate
from policies.cost import StepTime
from policies.decide import Decision, Last, NoPoolError, Pool, Reason, decide

pytestmark = pytest.mark.unit

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
    taken = decide(context(alpha + 1e-6 if alpha == 0.60 else alpha, last=last and Last(last)))
    assert (taken.route, taken.reason, taken.settled) == (route, reason, route)


def test_a_rate_that_wanders_through_the_band_switches_twice() -> None:
    """Up and down again: once on, once off, and no flapping between."""
    last, routes = None, []
    for alpha in (0.4, 0.55, 0.59, 0.61, 0.55, 0.51, 0.55, 0.49, 0.55, 0.59):
        last = decide(context(alpha, last=last and Last(last))).settled
        routes.append(last == "speculative")
    assert routes == [False] * 3 + [True] * 4 + [False] * 3


@pytest.mark.parametrize("alpha", [0.4, 0.55, 0.9])
def test_too_little_evidence_is_a_cold_start(alpha: float) -> None:
    """The same comparison under another reason, until the task has min_steps steps."""
    cold, warm = decide(context(alpha, steps=49)), decide(context(alpha, steps=50))
    assert cold.reason is Reason.COLD_START
    assert warm.reason is not Reason.COLD_START
    assert (arm(cold), cold.settled, cold.alpha) == (arm(warm), warm.settled, warm.alpha)


def test_alpha_is_compared_at_the_default_k() -> None:
    """The estimate's effective acceptance; what the drafts read at their own k does not matter."""
    bursty = Estimate((0.35, 0.9), (1.0, 1.0), (0.01, 0.01), 4, 1000.0, draft_acceptance_rate=0.99)
    taken = decide(context(estimates={"ngram": bursty}))
    assert taken.alpha == bursty.alpha
    assert 0.5 < bursty.alpha < 0.6
    assert taken.reason is Reason.HYSTERESIS


def test_the_draft_acceptance_rate_can_be_compared_instead() -> None:
    """As expected at k.default: constant 0.75 reads 0.51 there."""
    metric = policy(mode="threshold", threshold={"metric": "draft_acceptance_rate"})
    assert decide(context(0.75)).reason is Reason.ALPHA_ABOVE
    assert decide(context(0.75, policy=metric)).reason is Reason.HYSTERESIS
    assert decide(context(0.70, policy=metric)).reason is Reason.ALPHA_BELOW


def test_a_rejected_speculation_is_accounted_for() -> None:
    """Vanilla shows the alpha it was compared with, and the speedup that was given up."""
    taken = decide(context(0.3))
    assert (arm(taken), taken.alpha) == (("vanilla", 0), pytest.approx(0.3))
    assert taken.expected_speedup is not None


# Which k, which pool


@pytest.mark.parametrize(
    ("k", "expected"),
    [
        ({"mode": "fixed"}, 4),
        ({"mode": "fixed", "default": 7}, 5),
        ({"mode": "engine"}, 5),
        ({"mode": "engine", "max": 3}, 3),
        ({"min": 7}, 5),
        ({"max": 3}, 3),
        ({"mode": "fixed", "max": 3}, 3),
    ],
)
def test_k_stays_within_what_policy_and_pool_allow(k: dict[str, Any], expected: int) -> None:
    """Fixed is the default, an engine that adapts by itself gets all; a pool of 5 has no 7."""
    assert decide(context(0.99, policy=policy(mode="threshold", k=k))).k == expected


def test_ties_go_to_the_smaller_k() -> None:
    """Drafts that are never accepted and cost nothing: the batch keeps its room."""
    free = NGRAM._replace(step_time=StepTime(base=0.03))
    always = policy(mode="always_speculative")
    assert decide(context(0.0, policy=always, pools=(VANILLA, free))).k == 1


def test_the_pool_that_gains_most_is_taken() -> None:
    """Among those with an estimate."""
    pools, estimates = (VANILLA, NGRAM, DRAFT), {"ngram": accepting(0.7), "draft": accepting(0.9)}
    assert decide(context(pools=pools, estimates=estimates)).profile == "draft"
    assert decide(context(pools=pools, estimates={"ngram": accepting(0.7)})).profile == "ngram"


# Modes


def test_always_vanilla_and_always_speculative_leave_no_choice() -> None:
    """Neither evidence nor chance is asked, and a full pool is waited for."""
    full = NGRAM._replace(in_flight=8)
    chance = {"exploration": {"share": 1.0, "max_share": 1.0}, "holdout": {"share": 1.0}}
    always = decide(context(0.1, policy=policy(mode="always_speculative", **chance), pools=(VANILLA, full)))
    never = decide(context(0.9, policy=policy(mode="always_vanilla", **chance)))
    assert (always.profile, always.reason, always.propensity) == ("ngram", Reason.MODE, 1.0)
    assert (arm(never), never.reason, never.propensity) == (("vanilla", 0), Reason.MODE, 1.0)


@pytest.mark.parametrize(("alpha", "route"), [(0.9, "speculative"), (0.01, "vanilla")])
def test_shadow_serves_vanilla_and_says_what_adaptive_mode_would_have_done(alpha: float, route: str) -> None:
    """Hysteresis goes on as if it had; nothing is left to chance."""
    shadow = policy(mode="shadow", holdout={"share": 0.5}, exploration={"share": 0.5, "max_share": 0.5})
    served = decide(context(alpha, policy=shadow, draws=(0.0, 0.0, 0.0)))
    would = decide(context(alpha, policy=policy(mode="adaptive")))
    assert (arm(served), served.reason, served.propensity) == (("vanilla", 0), Reason.SHADOW, 1.0)
    assert (served.intended, served.settled, served.alpha) == (arm(would), route, would.alpha)


# What requests ask for


def asked(alpha: float = 0.2, **wanted: Any) -> Decision:
    return decide(
        context(alpha, policy=policy(mode="threshold", allow_overrides=True, k={"max": 6}), **wanted)
    )


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
    full, away = NGRAM._replace(in_flight=8), NGRAM._replace(available=False)
    assert arm(asked(wanted_k=2, pools=(VANILLA, full))) == ("ngram", 2)
    refused = asked(wanted_k=2, pools=(VANILLA, away))
    assert (arm(refused), refused.reason) == (("vanilla", 0), Reason.POOL_UNAVAILABLE)
    assert asked(wanted_k=2, pools=(VANILLA,)).reason is Reason.POOL_UNAVAILABLE


def test_what_speculation_cannot_serve_goes_to_a_pool_without_a_drafter() -> None:
    """Even when that one is full or an override says otherwise: an engine with a drafter refuses it."""
    full = VANILLA._replace(in_flight=99)
    taken = asked(0.9, unsupported=True, wanted_k=3, pools=(full, NGRAM))
    assert (arm(taken), taken.reason) == (("vanilla", 0), Reason.UNSUPPORTED)
    with pytest.raises(NoPoolError):
        decide(context(unsupported=True, pools=(VANILLA._replace(available=False), NGRAM)))


def test_what_speculation_cannot_serve_meets_the_engines_own_refusal_where_nothing_else_is() -> None:
    """A deployment without a plain pool lets the engine explain."""
    assert arm(decide(context(unsupported=True, pools=(NGRAM,)))) == ("ngram", 0)


# Pools that are away or full


def test_a_full_pool_yields_to_one_with_room() -> None:
    """Saturated, with the arm it would have been; what evidence favours is remembered all the same."""
    taken = decide(context(0.9, pools=(VANILLA, NGRAM._replace(in_flight=8))))
    assert (arm(taken), taken.reason, taken.settled) == (("vanilla", 0), Reason.SATURATED, "speculative")
    assert taken.intended == arm(decide(context(0.9)))


def test_where_everything_is_full_nothing_moves() -> None:
    """Waiting in the better queue is better."""
    full = VANILLA._replace(in_flight=8), NGRAM._replace(in_flight=8)
    assert decide(context(0.9, pools=full)).route == "speculative"
    assert arm(decide(context(0.2, pools=full))) == ("vanilla", 0)


def test_plain_decoding_overflows_to_a_pool_with_room() -> None:
    """There is k = 0 on every pool, and the reason for vanilla stands."""
    taken = decide(context(0.2, pools=(VANILLA._replace(in_flight=8), NGRAM)))
    assert (arm(taken), taken.reason) == (("ngram", 0), Reason.ALPHA_BELOW)


def test_plain_decoding_keeps_away_from_drafters_for_small_gains() -> None:
    """The pool that drafts is left to requests that can use it, unless it is clearly faster."""
    for factor, profile in ((0.99, "vanilla"), (0.9, "ngram")):
        faster = NGRAM._replace(step_time=StepTime(base=0.03 * factor))
        assert decide(context(0.0, pools=(VANILLA, faster))).profile == profile


def test_an_absent_pool_is_replaced() -> None:
    """Speculation by another pool that speculates, else by vanilla; vanilla by k = 0 elsewhere."""
    away = NGRAM._replace(available=False)
    estimates = {"ngram": accepting(0.9), "draft": accepting(0.7)}
    assert decide(context(pools=(VANILLA, away, DRAFT), estimates=estimates)).profile == "draft"
    alone = decide(context(0.9, pools=(VANILLA, away)))
    assert (arm(alone), alone.reason, alone.settled) == (
        ("vanilla", 0),
        Reason.POOL_UNAVAILABLE,
        "speculative",
    )
    plain = decide(context(0.2, pools=(VANILLA._replace(available=False), NGRAM)))
    assert (arm(plain), plain.reason) == (("ngram", 0), Reason.ALPHA_BELOW)


def test_without_a_pool_that_speculates_everything_is_vanilla() -> None:
    """Whatever the estimates."""
    assert arm(decide(context(0.9, pools=(VANILLA,)))) == ("vanilla", 0)


@pytest.mark.parametrize("pools", [(), (VANILLA._replace(available=False), NGRAM._replace(available=False))])
@pytest.mark.parametrize("mode", ["threshold", "shadow", "always_vanilla", "always_speculative"])
def test_no_pool_is_an_error(pools: tuple[Pool, ...], mode: str) -> None:
    """In every mode."""
    with pytest.raises(NoPoolError):
        decide(context(0.9, policy=policy(mode=mode), pools=pools))
