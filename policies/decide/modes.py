"""What a request demands, and what the policy's mode and the evidence favour."""

from __future__ import annotations

from policies.acceptance import Estimate
from policies.decide.arms import Arm, best_arm, nearest_arm, speculative, vanilla
from policies.decide.context import Context, Decision, Reason, Route
from policies.groups import Threshold


def demanded(context: Context) -> Decision | None:
    """What leaves no choice: requests speculation cannot serve, and overrides the policy allows.

    An override outranks the mode, shadow included: whoever allows overrides wants them to work. A wanted k is
    cut to what the policy and the pools allow; k 0 is vanilla, whatever route is wanted.
    """
    if context.unsupported:
        return vanilla(context, Reason.UNSUPPORTED)
    if not context.policy.allow_overrides or (context.wanted_route is None and context.wanted_k is None):
        return None
    if context.wanted_route == "vanilla" or context.wanted_k == 0:
        return vanilla(context, Reason.OVERRIDE)
    arm = best_arm(context) if context.wanted_k is None else nearest_arm(context, context.wanted_k)
    if arm is None:
        return vanilla(context, Reason.POOL_UNAVAILABLE)
    return speculative(context, arm, Reason.OVERRIDE)


def favoured(context: Context) -> Decision:
    """What the policy's mode asks for, which in most modes is what the evidence says."""
    mode = context.policy.mode
    if mode == "always_vanilla":
        return vanilla(context, Reason.MODE)
    arm = best_arm(context)
    if arm is None:
        return vanilla(context, Reason.POOL_UNAVAILABLE)
    if mode == "always_speculative":
        return speculative(context, arm, Reason.MODE)
    return _by_threshold(context, arm)


def compared_rate(estimate: Estimate, threshold: Threshold) -> float:
    """The rate that the band is about, at the policy's `k.default` whatever k requests ran with."""
    if threshold.metric == "alpha":
        return estimate.alpha
    return estimate.expected_draft_acceptance_rate()


def _by_threshold(context: Context, arm: Arm) -> Decision:
    """Compare the rate with the band; between its ends the last choice stands, at first vanilla."""
    estimate, threshold = context.estimates[arm.pool.profile], context.policy.threshold
    rate = compared_rate(estimate, threshold)
    route: Route
    if rate >= threshold.enable_above:
        route, reason = "speculative", Reason.ALPHA_ABOVE
    elif rate < threshold.disable_below:
        route, reason = "vanilla", Reason.ALPHA_BELOW
    else:
        route, reason = context.last or "vanilla", Reason.HYSTERESIS
    if estimate.evidence_steps < context.policy.acceptance.min_steps:
        reason = Reason.COLD_START
    decision = speculative(context, arm, reason, settled=route)
    return decision if route == "speculative" else vanilla(context, reason, instead_of=decision)
