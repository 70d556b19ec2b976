"""The decision: from one frozen context to an arm and the reason for it.

A base decider says what evidence favours; wrappers around it see to exploration, holdout, shadow mode and
pools that are away. Randomness comes in as a field of the context, so that every decision can be replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from policies.acceptance import Estimate
from policies.resolve import EffectivePolicy
from policies.speedup import StepCost, speedup

Route = Literal["speculative", "vanilla"]


class Reason(StrEnum):
    """Why a request went where it went: the closed set of `X-Specroute-Reason`."""

    ALPHA_ABOVE = "alpha_above"
    """The compared rate is above enable_above."""
    ALPHA_BELOW = "alpha_below"
    """The compared rate is below disable_below."""
    HYSTERESIS = "hysteresis"
    """The rate is between the two, and the last choice stands."""
    COLD_START = "cold_start"
    """There is too little evidence; the prior decided."""
    EXPLORATION = "exploration"
    """Chosen at random, to learn."""
    HOLDOUT = "holdout"
    """Kept on vanilla at random, to measure the saving."""
    SHADOW = "shadow"
    """Decided and logged, but served vanilla."""
    MODE = "mode"
    """The policy's mode leaves no choice."""
    OVERRIDE = "override"
    """The request asked for it and the policy allows it."""
    UNSUPPORTED = "unsupported"
    """Speculation cannot serve this request."""
    SATURATED = "saturated"
    """The pool that was preferred is full, the other is not."""
    POOL_UNAVAILABLE = "pool_unavailable"
    """The pool that was preferred cannot answer now."""
    FAILOVER = "failover"
    """The pool that was chosen failed before the first token."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool as the decision sees it."""

    profile: str
    max_k: int
    step_cost: StepCost
    available: bool = True
    in_flight: int = 0
    capacity: int = 1

    @property
    def full(self) -> bool:
        return self.in_flight >= self.capacity


@dataclass(frozen=True, slots=True)
class Context:
    """All that a decision depends on.

    `estimates` has one entry per speculative pool. `last` is the route this tenant and task had before. `draws`
    are independent uniform numbers in [0, 1): for holdout, exploration, and exploring k.
    """

    policy: EffectivePolicy
    pools: tuple[Pool, ...]
    estimates: Mapping[str, Estimate]
    draws: tuple[float, float, float]
    last: Route | None = None
    wanted_route: Route | None = None
    wanted_k: int | None = None
    unsupported: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """An arm, why it was chosen, and how likely that was.

    `settled` is the route that evidence favours, which hysteresis remembers; chance and outages leave it alone.
    `intended` names the arm shadow mode would have taken. `propensity` is the probability, under this policy and
    context, of the arm that was taken.
    """

    profile: str
    k: int
    reason: Reason
    settled: Route | None = None
    propensity: float = 1.0
    alpha: float | None = None
    expected_speedup: float | None = None
    intended: tuple[str, int] | None = None

    @property
    def route(self) -> Route:
        return "speculative" if self.k > 0 else "vanilla"


class NoPoolError(Exception):
    """No pool can answer."""


def decide(context: Context) -> Decision:
    """The arm for one request.

    Raises NoPoolError when no pool is available.
    """
    decision = _forced(context) or _with_chance(context, _by_mode)
    if context.policy.mode == "shadow" and decision.k > 0 and decision.reason is not Reason.OVERRIDE:
        decision = replace(
            _vanilla(context, Reason.SHADOW), settled=decision.settled, intended=(decision.profile, decision.k),
            alpha=decision.alpha,
        )
    return _on_available_pool(context, decision)


def best_k(estimate: Estimate, pool: Pool, policy: EffectivePolicy) -> tuple[int, float]:
    """The k with the greatest expected speedup within the policy's bounds and the pool's, and that speedup.

    Ties go to the smaller k, which leaves the batch more room.
    """
    highest = min(policy.k.max, pool.max_k)
    lowest = min(policy.k.min, highest)
    if policy.k.mode == "fixed":
        lowest = highest = min(policy.k.default, highest)
    scores = [
        (speedup(estimate.acceptance, estimate.coverage, k, pool.step_cost), -k) for k in range(lowest, highest + 1)
    ]
    score, negative_k = max(scores)
    return -negative_k, score


def _forced(context: Context) -> Decision | None:
    """What leaves no choice: requests speculation cannot serve, and overrides the policy allows."""
    if context.unsupported:
        return _vanilla(context, Reason.UNSUPPORTED)
    if not context.policy.allow_overrides or (context.wanted_route is None and context.wanted_k is None):
        return None
    if context.wanted_route == "vanilla" or context.wanted_k == 0:
        return _vanilla(context, Reason.OVERRIDE)
    arm = _best_arm(context)
    if arm is None:
        return None
    pool, k, gain = arm
    k = k if context.wanted_k is None else min(context.wanted_k, pool.max_k)
    return _speculative(context, pool, k, Reason.OVERRIDE, gain)


def _by_mode(context: Context) -> Decision:
    mode = context.policy.mode
    arm = _best_arm(context)
    if mode == "always_vanilla" or arm is None:
        return _vanilla(context, Reason.MODE if mode == "always_vanilla" else Reason.POOL_UNAVAILABLE)
    if mode == "always_speculative":
        return _speculative(context, arm[0], arm[1], Reason.MODE, arm[2])
    return _by_threshold(context, *arm)


def _by_threshold(context: Context, pool: Pool, k: int, gain: float) -> Decision:
    """Compare the rate with the band; between its ends the last choice stands, at first vanilla."""
    estimate, threshold = context.estimates[pool.profile], context.policy.threshold
    rate = estimate.alpha
    if threshold.metric == "draft_acceptance_rate" and estimate.draft_acceptance_rate is not None:
        rate = estimate.draft_acceptance_rate
    if rate >= threshold.enable_above:
        route, reason = "speculative", Reason.ALPHA_ABOVE
    elif rate < threshold.disable_below:
        route, reason = "vanilla", Reason.ALPHA_BELOW
    else:
        route, reason = context.last or "vanilla", Reason.HYSTERESIS
    if estimate.evidence_steps < context.policy.acceptance.min_steps:
        reason = Reason.COLD_START
    if route == "speculative":
        return replace(_speculative(context, pool, k, reason, gain), settled="speculative")
    return replace(
        _vanilla(context, reason), settled="vanilla", alpha=estimate.alpha, expected_speedup=gain
    )


def _with_chance(context: Context, base: Callable[[Context], Decision]) -> Decision:
    """Holdout and exploration around any decider, with the probability of what was taken.

    Exploration speculates where vanilla was favoured, and tries the largest k where speculation was: the cap we
    set ourselves is the only thing that hides a position. Thin evidence explores up to `max_share`.
    """
    decision, policy = base(context), context.policy
    if policy.mode not in {"threshold", "shadow", "adaptive"}:
        return decision
    holdout, explore = policy.holdout_share, _exploration_share(context)
    for_holdout, for_exploration, _ = context.draws
    if for_holdout < holdout:
        chance = holdout + (1 - holdout) * (1 - explore) if decision.k == 0 else holdout
        return replace(
            _vanilla(context, Reason.HOLDOUT), settled=decision.settled, propensity=chance, alpha=decision.alpha
        )
    target = _exploration_arm(context, decision)
    if target is None:
        return decision if decision.k == 0 else replace(decision, propensity=1 - holdout)
    if for_exploration < explore:
        pool, k = target
        taken = _speculative(context, pool, k, Reason.EXPLORATION, None)
        return replace(taken, settled=decision.settled, propensity=(1 - holdout) * explore)
    kept = (1 - holdout) * (1 - explore) + (holdout if decision.k == 0 else 0.0)
    return replace(decision, propensity=kept)


def _exploration_share(context: Context) -> float:
    policy = context.policy
    arm = _best_arm(context)
    thin = arm is not None and (
        context.estimates[arm[0].profile].evidence_steps < policy.acceptance.min_steps
    )
    return policy.exploration.max_share if thin else policy.exploration.share


def _exploration_arm(context: Context, decision: Decision) -> tuple[Pool, int] | None:
    if decision.k == 0:
        arm = _best_arm(context)
        return None if arm is None else (arm[0], min(context.policy.k.default, arm[0].max_k))
    pool = next(pool for pool in context.pools if pool.profile == decision.profile)
    highest = min(context.policy.k.max, pool.max_k)
    if highest == decision.k or context.policy.k.mode != "adaptive":
        return None
    return pool, highest


def _best_arm(context: Context) -> tuple[Pool, int, float] | None:
    """The speculative pool and k with the greatest expected speedup, among pools that can answer if any can."""
    drafting = [pool for pool in context.pools if pool.max_k > 0 and pool.profile in context.estimates]
    drafting = [pool for pool in drafting if pool.available] or drafting
    arms = [(pool, *best_k(context.estimates[pool.profile], pool, context.policy)) for pool in drafting]
    return max(arms, key=lambda arm: arm[2], default=None)


def _speculative(context: Context, pool: Pool, k: int, reason: Reason, gain: float | None) -> Decision:
    estimate = context.estimates[pool.profile]
    if gain is None or k != best_k(estimate, pool, context.policy)[0]:
        gain = speedup(estimate.acceptance, estimate.coverage, k, pool.step_cost)
    return Decision(pool.profile, k, reason, alpha=estimate.alpha, expected_speedup=gain)


def _vanilla(context: Context, reason: Reason) -> Decision:
    """k = 0, on the pool that drafts least: a drafter that is a model costs something even unused."""
    pools = [pool for pool in context.pools if pool.available] or list(context.pools)
    if not pools:
        raise NoPoolError
    pool = min(pools, key=lambda pool: (pool.max_k > 0, pool.in_flight / pool.capacity))
    return Decision(pool.profile, 0, reason)


def _on_available_pool(context: Context, decision: Decision) -> Decision:
    """Move a decision off a pool that is away, or full while a plain one has room."""
    chosen = next(pool for pool in context.pools if pool.profile == decision.profile)
    others = [pool for pool in context.pools if pool.available and pool.profile != chosen.profile]
    if not chosen.available:
        if not others:
            raise NoPoolError
        away = replace(_vanilla(context, Reason.POOL_UNAVAILABLE), settled=decision.settled, alpha=decision.alpha)
        return replace(away, intended=(decision.profile, decision.k))
    if chosen.full and decision.reason is not Reason.OVERRIDE:
        roomy = [pool for pool in others if not pool.full]
        if roomy:
            spare = min(roomy, key=lambda pool: pool.in_flight / pool.capacity)
            return replace(
                decision, profile=spare.profile, k=0, reason=Reason.SATURATED, expected_speedup=None,
                intended=(decision.profile, decision.k),
            )
    return decision
