"""What an arm costs a request.

For a request that joins an engine with b others, which together make A tokens a pass, T being the time of
their passes and T_k with this one on cap k, N the expected tokens, S = (N - 1) / E[L_k] its steps and F the
pass that reads its prompt:

    own time       wait + F + S T_k
    interactive    own time + c b (F - T + S (T_k - T))      what it takes, and what it takes from the others
    batch          wait + F + (N - 1) / ((A + E[L_k]) / T_k - A / T)      by what it adds to tokens per second

The second term of the interactive cost is what makes a large batch unwilling to draft, requests of like k
seek each other, and one engine not take everything: the largest k of a batch is everybody's drafter cost. It
counts c times, the pool's crowding; and where the pool has one k for all (`policies.crowds`), nobody asks for
more, and everybody's passes are taken to ask for as much. A drafter whose tokens all come from one pass works
for all of them in every pass, also in those of requests that decode plainly there.

Where more comes than a pool can do, its delays do not multiply, they queue: who joins comes last. Spread over
all pools an overload slows down everybody; in one of them it leaves the others quick. So there the delay
counts once, and only what an arm takes beyond plain decoding counts c times.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from policies.acceptance import Curves, Estimate
from policies.cost import StepLoad, queue_wait_s
from policies.decide.context import Context, Pool, Score

_PLAIN: Final = Curves((1.0,), (0.0,), (0.0,), (0.0,))
"""Of steps without drafts."""
_LEAST_RATE: Final = 1e-3
"""Tokens per second of a request that takes from its neighbours all it adds, or more."""


class Engine:
    """One of a pool's engines as a request would find it: what does not depend on k, computed once."""

    def __init__(self, context: Context, pool: Pool, *, cached: bool = True) -> None:
        work, policy = context.work, context.policy
        # Who waits is not in the batch yet, and who joins a full one takes a place that came free.
        in_flight, capacity = pool.in_flight, pool.capacity
        present = in_flight if in_flight < capacity else capacity - 1
        part = present / (in_flight * pool.replicas) if present > 0 else 0.0
        load = pool.work or StepLoad(requests=in_flight)
        asked = (load.asked if part else 0.0) if pool.cap is None else pool.cap
        others = StepLoad(
            load.requests * part,
            1.0 - (1.0 - load.verifying) ** part,
            load.drafted * part,
            # A model that drafts runs for the largest k of the batch, once where nobody asks for any, and
            # for all it can where it drafts them all at once.
            max(float(pool.least_asked), asked) if pool.drafter_is_model else 0.0,
            load.context * part,
            0.0,
            pool.reading,
            pool.chunk,
        )
        held = work.cached.get(pool.profile, 0.0) if cached and work.cached else 0.0
        self._pool = pool
        self._objective = policy.objective
        self._by_rate = policy.objective.class_ == "batch"
        self._min_steps = policy.acceptance.min_steps
        self._others = others
        self._context = others.context + work.prompt_tokens + work.output_tokens / 2
        self._lengths = others.requests if pool.length is None else pool.length * part
        self._tokens = max(0.0, work.output_tokens - 1.0)
        seconds = pool.step_time.seconds
        self._pass_s = seconds(others) if part else 0.0
        self._ttft_s = seconds(others._replace(prefill=max(1.0, work.prompt_tokens - held)))
        self._wait_s = self._waiting_s() if pool.full else 0.0

    def score(self, k: int, estimate: Estimate | None) -> Score:
        """The arm with cap `k`; `estimate` None decodes plainly."""
        return self.scores((k,), estimate)[0]

    def scores(self, ks: Iterable[int], estimate: Estimate | None) -> list[Score]:
        """The arms with each cap of `ks`; `estimate` None decodes plainly."""
        # One loop with all it needs at hand: it runs for every arm of every decision.
        pool, tokens, wait_s, ttft_s, before_s = (
            self._pool,
            self._tokens,
            self._wait_s,
            self._ttft_s,
            self._pass_s,
        )
        neighbours, verifying, drafted_there, asked_there, _, _, reading, chunk = self._others
        idle, together, context = 1.0 - verifying, neighbours + 1.0, self._context
        profile, seconds, is_model = pool.profile, pool.step_time.seconds, pool.drafter_is_model
        crowding, overloaded, cost_error = pool.crowding, pool.overloaded, pool.cost_error
        by_rate, most_tpot_s = self._by_rate, self._objective.tpot
        in_time = by_rate or wait_s + ttft_s <= self._objective.ttft
        curves = _PLAIN if estimate is None else estimate
        lengths, deviations, drafted, proposing = (
            curves.lengths,
            curves.deviations,
            curves.drafted,
            curves.proposing,
        )
        measured = estimate is None or estimate.evidence_steps >= self._min_steps
        fixed_s, plain_delay_s = wait_s + ttft_s, math.inf
        if not by_rate:  # what the others lose by this one's prompt
            joining_s = neighbours * (ttft_s - before_s)
            fixed_s += joining_s if overloaded else crowding * joining_s
        if overloaded:
            plain_delay_s = neighbours * tokens * (self._joined_s() - before_s)
        found = []
        for k in ks:
            length, drafts = lengths[k], drafted[k]
            pass_s = seconds(
                StepLoad(
                    together,
                    1.0 - idle * (1.0 - proposing[k]),
                    drafted_there + drafts,
                    float(k) if is_model and k > asked_there else asked_there,
                    context,
                    0.0,
                    reading,
                    chunk,
                )
            )
            steps = tokens / length
            decode_s = own_s = steps * pass_s
            if by_rate:
                own_s = tokens / max(self._added_rate(pass_s, length), _LEAST_RATE)
            else:
                # What the others lose by its steps.
                delay_s = neighbours * steps * (pass_s - before_s)
                if overloaded:
                    own_s += delay_s + (crowding - 1.0) * max(0.0, delay_s - plain_delay_s)
                else:
                    own_s += crowding * delay_s
            cost_s = fixed_s + own_s
            found.append(
                Score(
                    profile,
                    k,
                    cost_s,
                    own_s * math.hypot(deviations[k] / length, cost_error) / cost_s if cost_s > 0 else 0.0,
                    wait_s,
                    ttft_s,
                    decode_s,
                    length,
                    drafts,
                    proposing[k],
                    in_time and (by_rate or pass_s / length <= most_tpot_s),
                    measured,
                )
            )
        return found

    def _joined_s(self) -> float:
        """The pass with this request in it, decoding plainly."""
        others = self._others
        joined = others._replace(requests=others.requests + 1.0, context=self._context)
        return self._pool.step_time.seconds(joined)

    def _added_rate(self, pass_s: float, length: float) -> float:
        """Tokens per second the engine makes with this request beyond those it makes without."""
        before = self._lengths / self._pass_s if self._pass_s else 0.0
        return (self._lengths + length) / pass_s - before

    def _waiting_s(self) -> float:
        """In the queue of a full pool, which moves up by its capacity in the time a request usually stays."""
        pool = self._pool
        stay_s = pool.residence_s
        if stay_s is None:
            stay_s = self._ttft_s + self._tokens * self._joined_s()
        return queue_wait_s(pool.in_flight, pool.capacity, stay_s)
