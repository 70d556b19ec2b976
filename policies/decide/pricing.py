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
more, and everybody's passes are taken to ask for as much.

Where more comes than a pool can do, its delays do not multiply, they queue: who joins comes last. Spread over
all pools an overload slows down everybody; in one of them it leaves the others quick. So there the delay
counts once, and only what an arm takes beyond plain decoding counts c times.
"""

from __future__ import annotations

import math
from typing import Final

from policies.acceptance import Estimate
from policies.cost import StepLoad, queue_wait_s
from policies.decide.context import Context, Pool, Score

_LEAST_RATE: Final = 1e-3
"""Tokens per second of a request that takes from its neighbours all it adds, or more."""


class Engine:
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
            chunk=pool.chunk,
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
        self._plain_delay_s = math.inf
        if pool.overloaded:
            plain_s = seconds(self._joined) - self._pass_s
            self._plain_delay_s = self._others.requests * self._tokens * plain_s

    def score(self, k: int, estimate: Estimate | None) -> Score:
        """The arm with cap `k`; `estimate` None decodes plainly."""
        length, deviation, drafted, proposing, measured = 1.0, 0.0, 0.0, 0.0, True
        if estimate is not None:
            length, deviation = estimate.lengths[k], estimate.deviations[k]
            drafted, proposing = estimate.drafted[k], estimate.proposing[k]
            measured = estimate.evidence_steps >= self._min_steps
        others, joined = self._others, self._joined
        asked = others.asked
        if k > asked and self._pool.drafter_is_model:
            asked = float(k)
        pass_s = self._pool.step_time.seconds(
            StepLoad(
                joined.requests,
                1.0 - (1.0 - others.verifying) * (1.0 - proposing),
                others.drafted + drafted,
                asked,
                joined.context,
                0.0,
                joined.reading,
                joined.chunk,
            )
        )
        decode_s = self._tokens / length * pass_s
        fixed_s = self._wait_s + self._ttft_s
        if self._by_rate:
            own_s = self._tokens / max(self._added_rate(pass_s, length), _LEAST_RATE)
        else:
            joining_s, delay_s = self._delays_s(self._tokens / length, pass_s)
            fixed_s += joining_s
            own_s = decode_s + delay_s
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

    def _delays_s(self, steps: float, pass_s: float) -> tuple[float, float]:
        """What the others lose by this one's prompt, and by its `steps` in passes of `pass_s`."""
        neighbours, crowding = self._others.requests, self._pool.crowding
        joining_s = neighbours * (self._ttft_s - self._pass_s)
        delay_s = neighbours * steps * (pass_s - self._pass_s)
        if self._pool.overloaded:
            return joining_s, delay_s + (crowding - 1.0) * max(0.0, delay_s - self._plain_delay_s)
        return crowding * joining_s, crowding * delay_s

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
