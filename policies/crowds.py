"""How crowded a pool is, and the k that suits its crowd.

Work that lengthens the passes of an engine also raises the number of requests that are in them, which
lengthens them again. For an engine that gets lambda requests per second, each of S steps that add d seconds
to a pass which takes t0 by itself, and F seconds of prompt, by Little's law

    u = lambda (S d + F)        the share of the time that goes into the requests' own work
    T = t0 / (1 - u)            the mean pass
    B = lambda S T              the mean batch

So the delay a request causes counts T / t0 times: `crowding`.

Where the drafter is a model, the largest k of a batch is everybody's cost: requests that choose for
themselves keep each other's k up, and mixed batches are worse than any uniform one. There the pool has one k
for all, the `cap`, and requests vote on it: each for the time per token T_k / E[L_k] that the batch it meets
would have on every k, for the recent mix of requests. Since requests vote, busy times outweigh calm ones;
since the last few hundred vote, the cap does not follow every burst.
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
_FULL: Final = 0.95
"""More work than that hardly fits."""
_MOST_CROWDING: Final = 5.0

_VOTERS: Final = 300.0
"""A vote that is so many votes old counts for 1 / e."""
_SWITCH_GAIN: Final = 1.02
"""A cap gives way to one that makes so many times as many tokens in the same time."""
_ALONE: Final = 1.5
"""Where voters meet fewer on average, themselves included, each has the k that suits it."""


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
    voters: float = 0.0
    batches: float = 0.0
    votes: list[float] = field(default_factory=list)

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

    def met(self, pool: Pool, now_s: float) -> Crowd:
        """The crowd a request meets in the pool, on whose cap it votes: ask once for every request."""
        mix = self._mixes.get(pool.profile)
        if mix is None or mix.requests <= 0.0:
            return NOT_CROWDED
        mix.age(now_s)
        if pool.drafter_is_model:
            mix.crowd = _voted(pool, mix)
        elif abs(now_s - mix.read_s) >= _FRESH_S:
            mix.crowd = Crowd(crowding=_crowding(pool, mix))
            mix.read_s = now_s
        return mix.crowd


def _crowding(pool: Pool, mix: _Mix) -> float:
    """T / t0, with what the requests chose."""
    steps = max(1e-9, mix.steps)
    drafted, proposing = mix.drafted / steps, min(1.0, mix.proposing / steps)
    context = (mix.prompt + mix.tokens / 2) / mix.requests
    # Two batches tell what a pass takes by itself and what each request adds; both beyond the first stair.
    few, many = (
        StepLoad(
            requests=batch,
            verifying=1.0 - (1.0 - proposing) ** batch,
            drafted=batch * drafted,
            context=batch * context,
        )
        for batch in (4.0, 8.0)
    )
    few_s = pool.step_time.seconds(few)
    added_s = max(0.0, pool.step_time.seconds(many) - few_s) / 4.0
    prompt_s = pool.step_time.seconds(few._replace(prefill=mix.prompt / mix.requests)) - few_s
    per_s = mix.per_s() / pool.replicas
    busy = per_s * (mix.steps / mix.requests * added_s + max(0.0, prompt_s))
    return _MOST_CROWDING if busy >= _FULL else min(_MOST_CROWDING, 1.0 / (1.0 - busy))


def _voted(pool: Pool, mix: _Mix) -> Crowd:
    batch = 1.0 + pool.in_flight / pool.replicas
    context = (mix.prompt + mix.tokens / 2) / mix.requests
    kept = 1.0 - 1.0 / _VOTERS
    mix.voters = kept * mix.voters + 1.0
    mix.batches = kept * mix.batches + batch
    curves = mix.by_k[: pool.max_k + 1]
    mix.votes += [0.0] * (len(curves) - len(mix.votes))
    for k, (per_token, drafted, proposing) in enumerate(curves):
        load = StepLoad(
            requests=batch,
            verifying=1.0 - (1.0 - min(1.0, proposing / mix.requests)) ** batch,
            drafted=batch * drafted / mix.requests,
            asked=max(1.0, float(k)),
            context=batch * context,
        )
        mix.votes[k] = kept * mix.votes[k] + pool.step_time.seconds(load) * per_token / mix.requests
    if not curves or mix.batches < _ALONE * mix.voters:
        return NOT_CROWDED
    best = min(range(len(curves)), key=mix.votes.__getitem__)
    before = mix.crowd.cap
    if before is not None and mix.votes[before] < _SWITCH_GAIN * mix.votes[best]:
        best = before
    return Crowd(cap=best)
