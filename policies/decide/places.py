"""Around a decision: pools that are away or full, and serving plainly what was only to be tried out."""

from __future__ import annotations

from dataclasses import replace

from policies.decide.arms import vanilla, vanilla_pool
from policies.decide.context import Context, Decision, Reason

_FORCED = frozenset({Reason.MODE, Reason.OVERRIDE})


def placed(context: Context, decision: Decision) -> Decision:
    """The decision, off a pool that is away, or full while another has room.

    What the mode or the request asked for waits in its queue instead: it is there to be compared.

    Raises:
        NoPoolError: No pool is available.
    """
    if decision.k == 0:
        return decision
    chosen = next(pool for pool in context.pools if pool.profile == decision.profile)
    if not chosen.available:
        reason = Reason.POOL_UNAVAILABLE
    elif chosen.full and decision.reason not in _FORCED and not vanilla_pool(context).full:
        reason = Reason.SATURATED
    else:
        return decision
    away = vanilla(context, reason, instead_of=decision)
    return replace(away, intended=(decision.profile, decision.k))


def shadowed(context: Context, decision: Decision) -> Decision:
    """Vanilla, with the arm the decision would have taken as the intended one."""
    served = vanilla(context, Reason.SHADOW, instead_of=decision)
    return replace(served, intended=(decision.profile, decision.k))
