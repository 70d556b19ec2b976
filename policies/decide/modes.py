"""What a request demands, and what the policy's mode and the evidence favour."""

from __future__ import annotations

from policies.acceptance import Estimate
from policies.decide.arms import nearest_arm, pool_of, speculative, vanilla
from policies.decide.context import Context, Decision, Reason, Score
from policies.decide.damping import Verdict, damped
from policies.decide.scores import Board, chance_below
from policies.groups import Threshold


def demanded(context: Context, board: Board) -> Decision | None:
    """What leaves no choice: requests speculation cannot serve, and overrides the policy allows.

    An override outranks the mode, shadow included: whoever allows overrides wants them to work. A wanted k is
    cut to what the policy and the pools allow; k 0 is vanilla, whatever route is wanted.
    """
    if context.unsupported:
        return vanilla(context, board, Reason.UNSUPPORTED)
    if not context.policy.allow_overrides or (context.wanted_route is None and context.wanted_k is None):
        return None
    if context.wanted_route == "vanilla" or context.wanted_k == 0:
        return vanilla(context, board, Reason.OVERRIDE)
    arm = board.speculative if context.wanted_k is None else nearest_arm(context, context.wanted_k)
    if arm is None:
        return vanilla(context, board, Reason.POOL_UNAVAILABLE)
    return speculative(context, board, arm, Reason.OVERRIDE)


def favoured(context: Context, board: Board) -> Decision:
    """What the policy's mode asks for, which in most modes is what the evidence says."""
    mode = context.policy.mode
    if mode == "always_vanilla":
        return vanilla(context, board, Reason.MODE)
    arm = board.speculative
    if arm is None:
        return vanilla(context, board, Reason.POOL_UNAVAILABLE)
    if mode == "always_speculative":
        return speculative(context, board, arm, Reason.MODE)
    if not board.plain:
        verdict = Verdict("speculative", Reason.POOL_UNAVAILABLE)
    elif mode == "threshold":
        verdict = _by_threshold(context, arm)
    else:
        verdict = _by_gain(context, board.vanilla, arm)
    route, reason = damped(verdict, context.last, gain=_gain(board, arm), policy=context.policy)
    if not arm.measured and reason is not Reason.OBJECTIVE:
        reason = Reason.COLD_START
    decision = speculative(context, board, arm, reason, settled=route)
    return decision if route == "speculative" else vanilla(context, board, reason, instead_of=decision)


def compared_rate(estimate: Estimate, threshold: Threshold) -> float:
    """The rate that the band is about, at the policy's `k.default` whatever k requests ran with."""
    if threshold.metric == "alpha":
        return estimate.alpha
    return estimate.expected_draft_acceptance_rate()


def _by_threshold(context: Context, arm: Score) -> Verdict:
    """Compare the rate with the band."""
    threshold = context.policy.threshold
    rate = compared_rate(context.estimates[arm.profile], threshold)
    if rate >= threshold.enable_above:
        return Verdict("speculative", Reason.ALPHA_ABOVE)
    if rate < threshold.disable_below:
        return Verdict("vanilla", Reason.ALPHA_BELOW)
    return Verdict(None, Reason.HYSTERESIS)


def _by_gain(context: Context, plain: Score, arm: Score) -> Verdict:
    """Leave vanilla only for min_speedup with confidence; between that and no gain lies the band.

    Inside the band the objectives for ttft and tpot decide, where one route is expected to meet them and the
    other not. Beyond it they do not: under load that would drive all to the arm that costs them most.
    """
    objective = context.policy.objective
    if _shared_by_vote(context, plain, arm):
        gains = arm.cost_s < plain.cost_s
    else:
        gains = chance_below(arm, plain.cost_s / objective.min_speedup) >= objective.confidence
    if gains:
        return Verdict("speculative", Reason.GAIN)
    if arm.cost_s < plain.cost_s:
        if arm.meets_objective != plain.meets_objective:
            return Verdict("speculative" if arm.meets_objective else "vanilla", Reason.OBJECTIVE)
        return Verdict(None, Reason.UNCERTAIN)
    full = arm.wait_s > 0 and arm.cost_s - arm.wait_s < plain.cost_s - plain.wait_s
    return Verdict("vanilla", Reason.SATURATED if full else Reason.NO_GAIN)


def _shared_by_vote(context: Context, plain: Score, arm: Score) -> bool:
    """Whether both arms are on one pool whose crowd voted for drafts.

    There the drafter works for everybody anyway, and who decodes plainly only stays longer in all the others'
    way: what would be gained is known of hundreds of requests, and there is no engine to stay on.
    """
    return plain.profile == arm.profile and pool_of(context, arm).cap is not None


def _gain(board: Board, arm: Score) -> float | None:
    return board.plain[0].cost_s / arm.cost_s if board.plain else None
