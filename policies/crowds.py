"""How crowded a pool is, and the k that suits its crowd.

Work that lengthens the passes of an engine also raises the number of requests that are in them, which
lengthens them again. For an engine that gets lambda requests per second, each of S steps that add d seconds
to a pass which takes t0 by itself, and F seconds of prompt, by Little's law

    u = lambda (S d + F)        the share of the time that goes into the requests' own work
    T = t0 / (1 - u)            the mean pass
    B = lambda S T              the mean batch
    S T = S t0 / (1 - u)        the mean decode time of a request

So the delay a request causes counts T / t0 times (`crowding`). Where the drafter is a model, the largest k of
a batch is everybody's cost: requests that choose for themselves keep each other's k up, and mixed batches are
worse than any uniform one. There the pool has one k for all, the `cap` that minimises the mean decode time of
the recent mix of requests, which changes only where that gains something.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from policies.acceptance import Estimate
from policies.cells import decay_factor
from policies.cost import StepLoad
from policies.decide.context import Pool, Score, Work

HALF_LIFE_S: Final = 30.0
_FRESH_S: Final = 1.0
_SWITCH_GAIN: Final = 1.05
"""A cap gives way to one that makes the mean decode time so many times shorter."""
_ALONE: Final = 1.5
"""Where the mean batch is smaller, requests rarely meet: each has the k that suits it."""
_FULL: Final = 0.95
"""More work than that does not fit: there the least work is best."""
_MOST_CROWDING: Final = 5.0


class Crowd(NamedTuple):
    """What a decision needs to know of a pool's crowd; `cap` None leaves k to each request."""

    cap: int | None = None
    crowding: float = 1.0


NOT_CROWDED: Final = Crowd()


@dataclass(slots=True)
class _Mix:
    """Decayed sums over the requests that were sent to a pool."""

    started_s: float
    at_s: float
    requests: float = 0.0
    tokens: float = 0.0
    prompt: float = 0.0
    steps: float = 0.0
    drafted: float = 0.0
    proposing: float = 0.0
    by_k: list[list[float]] = field(default_factory=list)
    """For every k: steps per token, draft tokens per step, share of steps with any."""
    crowd: Crowd = NOT_CROWDED
    read_s: float = -math.inf

    def age(self, now_s: float) -> None:
        factor = decay_factor(now_s - self.at_s, HALF_LIFE_S)
        self.at_s = max(self.at_s, now_s)
        self.requests *= factor
        self.tokens *= factor
        self.prompt *= factor
        self.steps *= factor
        self.drafted *= factor
        self.proposing *= factor
        for sums in self.by_k:
            for index in range(3):
                sums[index] *= factor

    def per_s(self) -> float:
        """Requests per second; what a sum that just began has not seen yet is known."""
        seen = 1.0 - decay_factor(max(1.0, self.at_s - self.started_s), HALF_LIFE_S)
        return self.requests * math.log(2.0) / HALF_LIFE_S / seen


class Crowds:
    """Follows the requests sent to every pool."""

    def __init__(self) -> None:
        self._mixes: dict[str, _Mix] = {}

    def sent(self, score: Score, estimate: Estimate | None, work: Work, now_s: float) -> None:
        """Count a request that went to the pool of `score`; `estimate` is of its drafts there, if any."""
        mix = self._mixes.get(score.profile)
        if mix is None:
            mix = self._mixes[score.profile] = _Mix(now_s, now_s)
        mix.age(now_s)
        steps = max(0.0, work.output_tokens - 1.0) / score.length
        mix.requests += 1.0
        mix.tokens += work.output_tokens
        mix.prompt += work.prompt_tokens
        mix.steps += steps
        mix.drafted += steps * score.drafted
        mix.proposing += steps * score.proposing
        if estimate is None:
            return
        curves = zip(estimate.lengths, estimate.drafted, estimate.proposing, strict=True)
        for k, (length, drafted, proposing) in enumerate(curves):
            if k == len(mix.by_k):
                mix.by_k.append([0.0, 0.0, 0.0])
            sums = mix.by_k[k]
            sums[0] += 1.0 / length
            sums[1] += drafted
            sums[2] += proposing

    def of(self, pool: Pool, now_s: float) -> Crowd:
        """The pool's crowd, at most a second old."""
        mix = self._mixes.get(pool.profile)
        if mix is None or mix.requests <= 0.0:
            return NOT_CROWDED
        if abs(now_s - mix.read_s) >= _FRESH_S:
            mix.age(now_s)
            mix.crowd = _capped(pool, mix) if pool.drafter_is_model else Crowd(None, _crowding(pool, mix))
            mix.read_s = now_s
        return mix.crowd


class _Use(NamedTuple):
    """What one k, or the choice that was made, makes of a pool."""

    decode_s: float
    """Mean decode time of a request; where the work does not fit, only its order means anything."""
    crowding: float
    batch: float


def _use(pool: Pool, mix: _Mix, *, steps: float, drafted: float, proposing: float, asked: float) -> _Use:
    """The formulas above for requests of `steps` steps with `drafted` draft tokens each."""
    per_s = mix.per_s() / pool.replicas
    context = (mix.prompt + mix.tokens / 2) / mix.requests
    # Two batches tell what a pass takes by itself and what each request adds; both beyond the first stair.
    few, many = (
        StepLoad(
            requests=batch,
            verifying=1.0 - (1.0 - min(1.0, proposing)) ** batch,
            drafted=batch * drafted,
            asked=asked,
            context=batch * context,
        )
        for batch in (4.0, 8.0)
    )
    few_s = pool.step_time.seconds(few)
    added_s = max(0.0, pool.step_time.seconds(many) - few_s) / 4.0
    base_s = max(1e-9, few_s - 4.0 * added_s)
    prompt_s = pool.step_time.seconds(few._replace(prefill=mix.prompt / mix.requests)) - few_s
    busy = per_s * (steps * added_s + max(0.0, prompt_s))
    if busy >= _FULL:
        return _Use(steps * base_s / (1.0 - _FULL) * busy / _FULL, _MOST_CROWDING, math.inf)
    decode_s = steps * base_s / (1.0 - busy)
    return _Use(decode_s, min(_MOST_CROWDING, 1.0 / (1.0 - busy)), per_s * decode_s)


def _crowding(pool: Pool, mix: _Mix) -> float:
    """With what the requests chose."""
    steps = max(1e-9, mix.steps)
    return _use(
        pool,
        mix,
        steps=mix.steps / mix.requests,
        drafted=mix.drafted / steps,
        proposing=mix.proposing / steps,
        asked=0.0,
    ).crowding


def _capped(pool: Pool, mix: _Mix) -> Crowd:
    tokens, requests = mix.tokens / mix.requests, mix.requests
    uses = [
        _use(
            pool,
            mix,
            steps=tokens * per_token / requests,
            drafted=drafted / requests,
            proposing=proposing / requests,
            asked=max(1.0, float(k)),
        )
        for k, (per_token, drafted, proposing) in enumerate(mix.by_k[: pool.max_k + 1])
    ]
    if not uses:
        return NOT_CROWDED
    best = min(range(len(uses)), key=lambda k: uses[k].decode_s)
    if uses[best].batch < _ALONE:
        return NOT_CROWDED
    before = mix.crowd.cap
    if before is not None and before < len(uses):
        gain = uses[before].decode_s / uses[best].decode_s
        best = best if gain >= _SWITCH_GAIN else before
    return Crowd(cap=best)
