"""The decision: from one frozen context to an arm and the reason for it.

`favoured` says what the policy's mode and the evidence favour; around it, `placed` sees to pools that are
away or full, `drawn` to holdout and exploration, and shadow mode to serving plainly. What a request itself
demands comes before all of them. Randomness comes in as a field of the context, so that every decision can be
replayed.
"""

from __future__ import annotations

from policies.decide.arms import best_k
from policies.decide.chance import drawn
from policies.decide.context import Context, Decision, NoPoolError, Pool, Reason, Route
from policies.decide.modes import demanded, favoured
from policies.decide.places import placed, shadowed

__all__ = ["Context", "Decision", "NoPoolError", "Pool", "Reason", "Route", "best_k", "decide"]


def decide(context: Context) -> Decision:
    """The arm for one request.

    Raises:
        NoPoolError: No pool that could answer this request is available.
    """
    if (demand := demanded(context)) is not None:
        return placed(context, demand)
    decision = placed(context, favoured(context))
    match context.policy.mode:
        case "shadow":
            return shadowed(context, decision)
        case "always_vanilla" | "always_speculative":
            return decision
        case "threshold" | "adaptive":
            return drawn(context, decision)
