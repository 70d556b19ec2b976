"""All arms of a request, scored and compared; what an arm costs is in `policies.decide.pricing`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

from policies.decide.context import Context, NoPoolError, Pool, Score
from policies.decide.pricing import Engine
from policies.resolve import EffectivePolicy

_SQRT_2: Final = math.sqrt(2.0)

_DRAFTER_HANDICAP: Final = 1.02
"""Of a plain arm beside a drafter: a gain as small leaves the room to requests that can use the drafter."""


class Board(NamedTuple):
    """All arms of a request, scored: plain ones on pools that answer, drafting ones on those that draft."""

    plain: tuple[Score, ...]
    drafting: tuple[Score, ...]

    @property
    def vanilla(self) -> Score:
        """The best plain arm.

        Raises:
            NoPoolError: No pool that could answer this request is available.
        """
        if not self.plain:
            raise NoPoolError("no pool that could answer this request is available")
        return self.plain[0]

    @property
    def speculative(self) -> Score | None:
        """The best drafting arm; None where no pool drafts."""
        return min(self.drafting, key=preference, default=None)


def preference(score: Score) -> float:
    """Sorts arms by cost; of equal ones `min` takes the first, which has the smaller k."""
    return score.cost_s


def chance_below(score: Score, bound_s: float) -> float:
    """The probability that the arm's cost is at most `bound_s`, its logarithm taken as normal."""
    if bound_s <= 0:
        return 0.0
    margin = math.log(bound_s / score.cost_s)
    if score.spread <= 0:
        return float(margin >= 0)
    return 0.5 * math.erfc(-margin / (score.spread * _SQRT_2))


def chance_above(score: Score, bound_s: float) -> float:
    """The probability that the arm's cost is more than `bound_s`."""
    return 1.0 - chance_below(score, bound_s)


def board(context: Context, *, cached: bool = True) -> Board:
    """All arms of the context, scored. With `cached` false as if no prefix cache held anything.

    Drafting arms of pools that are away are scored only where every pool that drafts is away: the decision
    then says what it was kept from.
    """
    engines = {pool.profile: Engine(context, pool, cached=cached) for pool in context.pools}
    plain = sorted(
        (preference(score) * (_DRAFTER_HANDICAP if pool.max_k else 1.0), score)
        for pool in _answering(context)
        for score in engines[pool.profile].scores((0,), None)
    )
    estimates = context.estimates
    pools = [pool for pool in context.pools if pool.max_k > 0 and pool.profile in estimates]
    pools = [pool for pool in pools if pool.available] or pools
    drafting: list[Score] = []
    for pool in pools:
        ks = _admissible(pool, context.policy)
        drafting += engines[pool.profile].scores(ks, estimates[pool.profile])
    return Board(tuple([score for _, score in plain]), tuple(drafting))


def largest_k(pool: Pool, policy: EffectivePolicy) -> int:
    """The most draft tokens per step that the pool, its crowd and the policy allow.

    The crowd has no say where the policy leaves the choice of k to nobody, or to the engine.
    """
    most = min(policy.k.max, pool.max_k)
    return most if pool.cap is None or policy.k.mode != "adaptive" else min(most, pool.cap)


def reference_k(pool: Pool, policy: EffectivePolicy) -> int:
    """The policy's `k.default`, as far as the pool and its crowd go."""
    return min(policy.k.default, largest_k(pool, policy))


def score_arm(context: Context, pool: Pool, k: int) -> Score:
    """One drafting arm, also one the policy would not choose from by itself."""
    return Engine(context, pool).score(k, context.estimates[pool.profile])


def _answering(context: Context) -> Iterator[Pool]:
    """Pools that could decode the request plainly.

    What an engine with a drafter refuses needs a pool without one, if there is any in the deployment.
    """
    pools = context.pools
    if context.unsupported:
        pools = tuple(pool for pool in pools if pool.max_k == 0) or pools
    return (pool for pool in pools if pool.available)


def _admissible(pool: Pool, policy: EffectivePolicy) -> range:
    """The k to choose from; none where the pool's crowd is better off without drafts."""
    highest = largest_k(pool, policy)
    if highest == 0:
        return range(0)
    match policy.k.mode:
        case "fixed":
            fixed = reference_k(pool, policy)
            return range(fixed, fixed + 1)
        case "engine":  # the engine cuts drafts by its own lights, so it is given all that is allowed
            return range(highest, highest + 1)
        case "adaptive":
            return range(min(policy.k.min, highest), highest + 1)
