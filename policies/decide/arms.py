"""From scored arms to decisions."""

from __future__ import annotations

from policies.decide.context import Context, Decision, Pool, Reason, Route, Score
from policies.decide.scores import Board, chance_below, largest_k, score_arm


def pool_of(context: Context, score: Score) -> Pool:
    """The arm's pool."""
    return next(pool for pool in context.pools if pool.profile == score.profile)


def speculative(
    context: Context, board: Board, score: Score, reason: Reason, settled: Route | None = None
) -> Decision:
    """The decision to take a speculative arm, with what there is to say about it."""
    vanilla_s = board.plain[0].cost_s if board.plain else None
    return Decision(
        score.profile,
        score.k,
        reason,
        settled=settled,
        alpha=context.estimates[score.profile].alpha,
        expected_speedup=None if vanilla_s is None else vanilla_s / score.cost_s,
        confidence=None
        if vanilla_s is None
        else chance_below(score, vanilla_s / context.policy.objective.min_speedup),
        score=score,
        scores=board.plain + board.drafting,
        context=context,
    )


def vanilla(context: Context, board: Board, reason: Reason, instead_of: Decision | None = None) -> Decision:
    """The decision to decode plainly, which may keep the account of another that it replaces.

    Raises:
        NoPoolError: No pool that could answer this request is available.
    """
    score = board.vanilla
    scores = board.plain + board.drafting
    if instead_of is None:
        return Decision(score.profile, 0, reason, score=score, scores=scores, context=context)
    return Decision(
        score.profile,
        0,
        reason,
        settled=instead_of.settled,
        alpha=instead_of.alpha,
        expected_speedup=instead_of.expected_speedup,
        confidence=instead_of.confidence,
        score=score,
        scores=scores,
        context=context,
    )


def nearest_arm(context: Context, k: int) -> Score | None:
    """The arm nearest to `k` that passes neither the policy's largest nor its pool's; of several the best."""
    drafting = [pool for pool in context.pools if pool.max_k > 0 and pool.profile in context.estimates]
    drafting = [pool for pool in drafting if pool.available] or drafting
    scores = (score_arm(context, pool, min(k, largest_k(pool, context.policy))) for pool in drafting)
    return min(scores, key=lambda score: (-score.k, score.cost_s), default=None)
