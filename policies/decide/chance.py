"""Holdout and exploration around a decision, with the probability of the arm that was taken."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

from policies.decide.arms import pool_of, speculative, vanilla
from policies.decide.context import ArmChance, Context, Decision, Pool, Reason, Score
from policies.decide.scores import (
    Board,
    chance_above,
    chance_below,
    largest_k,
    preference,
    reference_k,
    score_arm,
)

_FEW_REQUESTS: Final = 5.0
"""A task with so many recent requests explores about half as much as a busy one: little would follow."""

_LEAST_CHANCE: Final = 0.05
"""The weight, among arms to explore, of one that is surely worse: never so little that it is never tried."""


class _Try(NamedTuple):
    score: Score
    chance: float


def drawn(context: Context, board: Board, decision: Decision) -> Decision:
    """The decision, or with the policy's probabilities a holdout or an exploration instead of it.

    `decision` must be placed already. Holdout is drawn first and exploration among the rest, so with shares h
    and e and arms to explore of chances w that add up to 1: h is held out, (1 - h) e w tries each, and
    (1 - h)(1 - e) is decided.
    """
    holdout = context.policy.holdout_share
    tries, share = _exploration(context, board, decision)
    for_holdout, for_exploration, for_arm = context.draws
    taken = decision
    if for_holdout < holdout:
        taken = vanilla(context, board, Reason.HOLDOUT, instead_of=decision)
    elif for_exploration < share:
        explored = _picked(tries, for_arm)
        if explored.k == 0:
            taken = replace(
                vanilla(context, board, Reason.EXPLORATION, instead_of=decision),
                profile=explored.profile,
                score=explored,
            )
        else:
            taken = speculative(context, board, explored, Reason.EXPLORATION, settled=decision.settled)

    chances: dict[tuple[str, int], float] = {}
    if holdout:
        chances[board.vanilla.profile, 0] = holdout
    shares = [(decision.profile, decision.k, (1 - holdout) * (1 - share))]
    shares += [(tried.score.profile, tried.score.k, (1 - holdout) * share * tried.chance) for tried in tries]
    for profile, k, chance in shares:
        chances[profile, k] = chances.get((profile, k), 0.0) + chance
    return replace(
        taken,
        propensity=chances[taken.profile, taken.k],
        chances=tuple([ArmChance(profile, k, chance) for (profile, k), chance in chances.items()]),
    )


def _exploration(context: Context, board: Board, decision: Decision) -> tuple[list[_Try], float]:
    """The arms worth trying instead of the decided one with their chances, and the share of requests that do.

    The share grows from `exploration.share` to `max_share` with the probability that another arm is better,
    which is greatest where the posterior straddles break-even; where pools have little evidence, these alone
    are tried, by `max_share`. A share of 0 means never.
    """
    settings = context.policy.exploration
    if settings.share <= 0:
        return [], 0.0
    scores = _alternatives(context, board, decision)
    scores = [score for score in scores if not score.measured] or scores
    if not scores:
        return [], 0.0
    cost_s = decision.score.cost_s if decision.score else 0.0
    doubts = [chance_below(score, cost_s) for score in scores]
    value = min(1.0, 2.0 * max(doubts)) if scores[0].measured else 1.0
    traffic = 1.0 - _FEW_REQUESTS / (context.recent_requests + _FEW_REQUESTS + 1.0)
    weights = [max(_LEAST_CHANCE, doubt) for doubt in doubts]
    tries = [_Try(score, weight / sum(weights)) for score, weight in zip(scores, weights, strict=True)]
    return tries, traffic * (settings.share + value * (settings.max_share - settings.share))


def _alternatives(context: Context, board: Board, decision: Decision) -> list[Score]:
    """Every pool that drafts and has room, and plain decoding where in doubt.

    So no choice between routes or pools is a one-way switch. The pool that was decided for is tried upward,
    because the cap we set ourselves is the only thing that hides a position.
    """
    found: list[Score] = []
    for pool in context.pools:
        if pool.max_k <= 0 or not pool.available or pool.full or pool.profile not in context.estimates:
            continue
        is_decided = pool.profile == decision.profile
        k = _explored_k(pool, context, board, decision.k if is_decided else 0)
        if not (is_decided and k == decision.k):
            scored = (score for score in board.drafting if score.k == k and score.profile == pool.profile)
            found.append(next(scored, None) or score_arm(context, pool, k))
    if decision.k > 0 and _in_doubt(board.vanilla, decision) and not pool_of(context, board.vanilla).full:
        found.append(board.vanilla)
    return found


def _in_doubt(plain: Score, decision: Decision) -> bool:
    """Whether plain decoding may well be better: what it takes is known from other requests' passes."""
    return decision.score is not None and chance_above(decision.score, plain.cost_s) > _LEAST_CHANCE


def _explored_k(pool: Pool, context: Context, board: Board, decided_k: int) -> int:
    """At the largest k a copying drafter shows most, and costs little; before that at `k.default`.

    A model that drafts works for its whole batch at the largest k of any request in it, so there positions
    are learned one after the other, from the k that promises most, and where requests share batches not
    beyond what suits the crowd. One that drafts all tokens at once does so anyway.
    """
    policy = context.policy
    at_default = max(1, reference_k(pool, policy))
    if policy.k.mode != "adaptive":
        return at_default
    if decided_k:
        return (
            min(decided_k + 1, largest_k(pool, policy)) if pool.drafter_counts_k else largest_k(pool, policy)
        )
    if policy.mode == "threshold" or not pool.drafter_counts_k:
        return at_default  # what a threshold compares is quoted for it
    scores = (score for score in board.drafting if score.profile == pool.profile and score.k > 0)
    promising = min(scores, key=preference, default=None)
    return promising.k if promising else at_default


def _picked(tries: list[_Try], draw: float) -> Score:
    for tried in tries:
        if draw < tried.chance:
            return tried.score
        draw -= tried.chance
    return tries[-1].score
