"""The decision: from one frozen context to an arm and the reason for it.

`board` scores every arm; `favoured` says what the policy's mode and the evidence favour, damped; around it,
`placed` sees to pools that are away or full, `drawn` to holdout and exploration, and shadow mode to serving
plainly. What a request itself demands comes before all of them. Randomness is a field of the context, so that
every decision can be replayed.
"""

from __future__ import annotations

from dataclasses import replace

from policies.decide.chance import drawn
from policies.decide.context import (
    ArmChance,
    Context,
    Decision,
    Last,
    NoPoolError,
    Pool,
    Reason,
    Route,
    Score,
    Work,
)
from policies.decide.modes import demanded, favoured
from policies.decide.places import explained, placed, shadowed
from policies.decide.scores import board

__all__ = [
    "ArmChance",
    "Context",
    "Decision",
    "Last",
    "NoPoolError",
    "Pool",
    "Reason",
    "Route",
    "Score",
    "Work",
    "decide",
]


def decide(context: Context) -> Decision:
    """The arm for one request.

    Raises:
        NoPoolError: No pool that could answer this request is available.
    """
    context = _narrowed(context)
    arms = board(context)
    if (demand := demanded(context, arms)) is not None:
        return placed(context, arms, demand)
    decision = placed(context, arms, favoured(context, arms))
    match context.policy.mode:
        case "shadow":
            return shadowed(context, arms, decision)
        case "always_vanilla" | "always_speculative":
            return decision
        case "threshold":
            return drawn(context, arms, decision)
        case "adaptive":
            return drawn(context, arms, explained(context, decision))


def _narrowed(context: Context) -> Context:
    """The context with no pool but the one a request asks for, where it may, and that pool is there.

    A request that speculation cannot serve goes where it can be served.
    """
    asks = context.wanted_route is not None or context.wanted_k is not None
    if (
        context.wanted_profile is None
        or not asks
        or context.unsupported
        or not context.policy.allow_overrides
    ):
        return context
    pools = tuple(pool for pool in context.pools if pool.profile == context.wanted_profile)
    return replace(context, pools=pools) if any(pool.available for pool in pools) else context
