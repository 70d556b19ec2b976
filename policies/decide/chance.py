"""Holdout and exploration around a decision, with the probability of the arm that was taken."""

from __future__ import annotations

from dataclasses import replace

from policies.decide.arms import Arm, arm, largest_k, reference_k, speculative, vanilla, vanilla_pool
from policies.decide.context import Context, Decision, Pool, Reason

_Try = tuple[Pool, int]


def drawn(context: Context, decision: Decision) -> Decision:
    """The decision, or with the policy's probabilities a holdout or an exploration instead of it.

    `decision` must be placed already. Holdout is drawn first and exploration among the rest, so with shares h
    and e and n arms to explore: h is held out, (1 - h) e / n tries each, and (1 - h)(1 - e) is decided.
    """
    holdout = context.policy.holdout_share
    tries, share = _exploration(context, decision)
    for_holdout, for_exploration, for_arm = context.draws
    if for_holdout < holdout:
        taken = vanilla(context, Reason.HOLDOUT, instead_of=decision)
    elif for_exploration < share:
        pool, k = tries[min(int(for_arm * len(tries)), len(tries) - 1)]
        explored: Arm = arm(context, pool, k)
        taken = speculative(context, explored, Reason.EXPLORATION, settled=decision.settled)
    else:
        taken = decision

    chance = 0.0
    if holdout and (taken.profile, taken.k) == (vanilla_pool(context).profile, 0):
        chance += holdout
    if (taken.profile, taken.k) == (decision.profile, decision.k):
        chance += (1 - holdout) * (1 - share)
    if any((pool.profile, k) == (taken.profile, taken.k) for pool, k in tries):
        chance += (1 - holdout) * share / len(tries)
    return replace(taken, propensity=chance)


def _exploration(context: Context, decision: Decision) -> tuple[list[_Try], float]:
    """The arms worth trying instead of the decided one, and the share of requests that try one.

    Every pool that drafts and has room is tried at the policy's `k.default`, so that no choice between routes
    or pools is a one-way switch; the one that was decided for at its largest k, because the cap we set
    ourselves is the only thing that hides a position. Where some pools have little evidence, these alone are
    tried, by up to `max_share`. A share of 0 means never.
    """
    policy = context.policy
    if policy.exploration.share <= 0:
        return [], 0.0
    tries: list[_Try] = []
    for pool in context.pools:
        if pool.max_k <= 0 or not pool.available or pool.full or pool.profile not in context.estimates:
            continue
        is_decided = decision.k > 0 and pool.profile == decision.profile
        upward = is_decided and policy.k.mode == "adaptive"
        k = largest_k(pool, policy) if upward else reference_k(pool, policy)
        if not (is_decided and k == decision.k):
            tries.append((pool, k))
    thin = [(pool, k) for pool, k in tries if _is_thin(context, pool)]
    if thin:
        return thin, policy.exploration.max_share
    return tries, policy.exploration.share if tries else 0.0


def _is_thin(context: Context, pool: Pool) -> bool:
    return context.estimates[pool.profile].evidence_steps < context.policy.acceptance.min_steps
