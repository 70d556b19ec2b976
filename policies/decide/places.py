"""Around a decision: pools that are away or full, prefix caches, and serving plainly what is only tried."""

from __future__ import annotations

from dataclasses import replace

from policies.decide.arms import pool_of, vanilla
from policies.decide.context import Context, Decision, Reason
from policies.decide.scores import Board, board, preference


def placed(context: Context, arms: Board, decision: Decision) -> Decision:
    """The decision, off a pool that is away, or full while another has room.

    What the mode or the request asked for waits in its queue instead: it is there to be compared. Adaptive
    mode, which is also what shadow mode tries out, has the wait in its scores.

    Raises:
        NoPoolError: No pool is available.
    """
    if decision.k == 0 or decision.score is None:
        return decision
    chosen = pool_of(context, decision.score)
    if not chosen.available:
        reason = Reason.POOL_UNAVAILABLE
    elif (
        chosen.full
        and decision.reason is not Reason.OVERRIDE
        and context.policy.mode == "threshold"
        and not pool_of(context, arms.vanilla).full
    ):
        reason = Reason.SATURATED
    else:
        return decision
    away = vanilla(context, arms, reason, instead_of=decision)
    return replace(away, intended=(decision.profile, decision.k))


def explained(context: Context, decision: Decision) -> Decision:
    """The decision with reason affinity, where the conversation's prefix cache is what decided the pool."""
    if not context.work.cached or decision.profile not in context.work.cached:
        return decision
    if decision.reason not in {Reason.GAIN, Reason.NO_GAIN, Reason.UNCERTAIN}:
        return decision
    elsewhere = board(context, cached=False)
    best = min(decision.scores, key=preference)
    otherwise = min(elsewhere.plain + elsewhere.drafting, key=preference)
    if best.profile == decision.profile != otherwise.profile:
        return replace(decision, reason=Reason.AFFINITY)
    return decision


def shadowed(context: Context, arms: Board, decision: Decision) -> Decision:
    """Vanilla, with the arm the decision would have taken as the intended one."""
    served = vanilla(context, arms, Reason.SHADOW, instead_of=decision)
    return replace(served, intended=(decision.profile, decision.k))
