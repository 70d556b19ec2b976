"""What every arm would cost a request.

For a request that joins an engine with b others, which together make A tokens a pass, T being the time of
their passes and T_k with this one on cap k, N the expected tokens, S = (N - 1) / E[L_k] its steps and F the
pass that reads its prompt:

    own time       wait + F + S T_k
    interactive    own time + c b (F - T + S (T_k - T))      what it takes, and what it takes from the others
    batch          wait + F + (N - 1) / ((A + E[L_k]) / T_k - A / T)      by what it adds to tokens per second

The second term of the interactive cost is what makes a large batch unwilling to draft, requests of like k
seek each other, and one engine not take everything: the largest k of a batch is everybody's drafter cost. It
counts c times, the pool's crowding; and where the pool has one k for all (`policies.crowds`), nobody asks for
more, and everybody's passes are taken to ask for as much.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

from policies.acceptance import Estimate
from policies.cost import StepLoad, queue_wait_s
from policies.decide.context import Context, NoPoolError, Pool, Score
from policies.resolve import EffectivePolicy

_SQRT_2: Final = math.sqrt(2.0)

_DRAFTER_HANDICAP: Final = 1.02
"""Of a plain arm beside a drafter: a gain as small leaves the room to requests that can use the drafter."""
_LEAST_RATE: Final = 1e-3
"""Tokens per second of a request that takes from its neighbours all it adds, or more."""


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
    engines = {pool.profile: _Engine(context, pool, cached=cached) for pool in context.pools}
    plain = sorted(
        (preference(score) * (_DRAFTER_HANDICAP if pool.max_k else 1.0), score)
        for pool in _answering(context)
        for score in (engines[pool.profile].score(0, None),)
    )
    drafting = [pool for pool in context.pools if pool.max_k > 0 and pool.profile in context.estimates]
    drafting = [pool for pool in drafting if pool.available] or drafting
    return Board(
        tuple(score for _, score in plain),
        tuple(score for pool in drafting for score in _drafting(context, pool, engines[pool.profile])),
    )


def largest_k(pool: Pool, policy: EffectivePolicy) -> int:
    """The most draft tokens per step that the pool, its crowd and the policy allow."""
    most = min(policy.k.max, pool.max_k)
    return most if pool.cap is None else min(most, pool.cap)


def reference_k(pool: Pool, policy: EffectivePolicy) -> int:
    """The policy's `k.default`, as far as the pool and its crowd go."""
    return min(policy.k.default, largest_k(pool, policy))


def score_arm(context: Context, pool: Pool, k: int) -> Score:
    """One drafting arm, also one the policy would not choose from by itself."""
    return _Engine(context, pool).score(k, context.estimates[pool.profile])


def _answering(context: Context) -> Iterator[Pool]:
    """Pools that could decode the request plainly.

    What an engine with a drafter refuses needs a pool without one, if there is any in the deployment.
    """
    pools = context.pools
    if context.unsupported:
        pools = tuple(pool for pool in pools if pool.max_k == 0) or pools
    return (pool for pool in pools if pool.available)


def _drafting(context: Context, pool: Pool, engine: _Engine) -> Iterator[Score]:
    policy = context.policy
    highest = largest_k(pool, policy)
    if highest == 0:  # the crowd is better off without drafts
        return iter(())
    match policy.k.mode:
        case "fixed":
            choices = range(reference_k(pool, policy), reference_k(pool, policy) + 1)
        case "engine":  # the engine cuts drafts by its own lights, so it is given all that is allowed
            choices = range(highest, highest + 1)
        case "adaptive":
            choices = range(min(policy.k.min, highest), highest + 1)
    estimate = context.estimates[pool.profile]
    return (engine.score(k, estimate) for k in choices)


class _Engine:
    """One of a pool's engines as a request would find it: what does not depend on k, computed once."""

    def __init__(self, context: Context, pool: Pool, *, cached: bool = True) -> None:
        work = context.work
        # Who waits is not in the batch yet, and who joins a full one takes a place that came free.
        present = min(pool.in_flight, pool.capacity - 1)
        part = present / (pool.in_flight * pool.replicas) if present > 0 else 0.0
        load = pool.work or StepLoad(requests=pool.in_flight)
        self._pool = pool
        self._objective = context.policy.objective
        self._by_rate = context.policy.objective.class_ == "batch"
        self._min_steps = context.policy.acceptance.min_steps
        self._others = StepLoad(
            requests=load.requests * part,
            verifying=1.0 - (1.0 - load.verifying) ** part,
            drafted=load.drafted * part,
            asked=self._asked((load.asked if part else 0.0) if pool.cap is None else pool.cap),
            context=load.context * part,
            reading=pool.reading,
        )
        self._lengths = self._others.requests if pool.length is None else pool.length * part
        self._tokens = max(0.0, work.output_tokens - 1.0)
        self._joined = self._others._replace(
            requests=self._others.requests + 1.0,
            context=self._others.context + work.prompt_tokens + work.output_tokens / 2,
        )
        held = work.cached.get(pool.profile, 0.0) if cached and work.cached else 0.0
        seconds = pool.step_time.seconds
        self._pass_s = seconds(self._others) if part else 0.0
        self._ttft_s = seconds(self._others._replace(prefill=max(1.0, work.prompt_tokens - held)))
        self._wait_s = self._waiting_s()

    def score(self, k: int, estimate: Estimate | None) -> Score:
        """The arm with cap `k`; `estimate` None decodes plainly."""
        length, deviation, drafted, proposing, measured = 1.0, 0.0, 0.0, 0.0, True
        if estimate is not None:
            length, deviation = estimate.lengths[k], estimate.deviations[k]
            drafted, proposing = estimate.drafted[k], estimate.proposing[k]
            measured = estimate.evidence_steps >= self._min_steps
        others, joined = self._others, self._joined
        pass_s = self._pool.step_time.seconds(
            StepLoad(
                joined.requests,
                1.0 - (1.0 - others.verifying) * (1.0 - proposing),
                others.drafted + drafted,
                max(others.asked, self._asked(k)),
                joined.context,
                reading=joined.reading,
            )
        )
        decode_s = self._tokens / length * pass_s
        fixed_s = self._wait_s + self._ttft_s
        if self._by_rate:
            own_s = self._tokens / max(self._added_rate(pass_s, length), _LEAST_RATE)
        else:
            neighbours = others.requests * self._pool.crowding
            fixed_s += neighbours * (self._ttft_s - self._pass_s)
            own_s = decode_s + self._tokens / length * neighbours * (pass_s - self._pass_s)
        cost_s = fixed_s + own_s
        deviation_s = own_s * math.hypot(deviation / length, self._pool.cost_error)
        return Score(
            self._pool.profile,
            k,
            cost_s,
            deviation_s / cost_s,
            self._wait_s,
            self._ttft_s,
            decode_s,
            length,
            drafted,
            proposing,
            self._meets_objective(pass_s / length),
            measured,
        )

    def _asked(self, k: float) -> float:
        """A model that drafts runs for the largest k of the batch, and once where nobody asks for any."""
        return max(1.0, k) if self._pool.drafter_is_model else 0.0

    def _added_rate(self, pass_s: float, length: float) -> float:
        """Tokens per second the engine makes with this request beyond those it makes without."""
        before = self._lengths / self._pass_s if self._pass_s else 0.0
        return (self._lengths + length) / pass_s - before

    def _waiting_s(self) -> float:
        """In the queue of a full pool, which moves up by its capacity in the time a request usually stays."""
        pool = self._pool
        if not pool.full:
            return 0.0
        stay_s = pool.residence_s
        if stay_s is None:
            stay_s = self._ttft_s + self._tokens * self._pool.step_time.seconds(self._joined)
        return queue_wait_s(pool.in_flight, pool.capacity, stay_s)

    def _meets_objective(self, tpot_s: float) -> bool:
        if self._by_rate:
            return True
        return self._wait_s + self._ttft_s <= self._objective.ttft and tpot_s <= self._objective.tpot
