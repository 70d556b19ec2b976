"""How crowded a pool is, and the k that suits its crowd.

Work that lengthens the passes of an engine also raises the number of requests that are in them, which
lengthens them again. For an engine that gets lambda requests per second, each of S steps that add d seconds
to a pass which takes t0 by itself, and F seconds of prompt, by Little's law

    u = lambda (S d + F)        the share of the time that goes into the requests' own work
    T = t0 / (1 - u)            the mean pass
    B = lambda S T              the mean batch

So the delay a request causes counts T / t0 times: `crowding`.

Where the drafter is a model, the largest k of a batch is everybody's cost: requests that choose for
themselves keep each other's k up, and mixed batches are worse than any uniform one. There the pool has one
k for all, the `cap`, and requests vote on it: each with the pass T_k that the batch it meets would have on
each k. Since requests vote, busy times outweigh calm ones; since the last few hundred vote, the cap does
not follow every burst. The cap is the k with the least time per token: the votes times the steps per token
1 / E[L_k] of the recent tasks, as they are believed to be now.
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
_MIXED_S: Final = 0.2
_MOST_CELLS: Final = 64
"""Tenants' tasks in the mix of a pool; of more the rarest are left out."""
_ALONE: Final = 1.5
"""Where voters meet fewer on average, themselves included, each has the k that suits it."""


class Crowd(NamedTuple):
    """What a decision needs to know of a pool's crowd: see the fields of `Pool` with these names."""

    cap: int | None = None
    crowding: float = 1.0
    reading: float = 0.0


NOT_CROWDED: Final = Crowd()


class _Curve(NamedTuple):
    """What one k makes of the mix."""

    steps_per_token: float
    drafted: float
    proposing: float


@dataclass(slots=True)
class _Cell:
    """A tenant's task in the mix: tokens asked for, older ones weighing less, and what is believed now."""

    tokens: float
    at_s: float
    estimate: Estimate

    def tokens_at(self, now_s: float) -> float:
        return self.tokens * decay_factor(now_s - self.at_s, HALF_LIFE_S)


@dataclass(slots=True)
class _Mix:
    """The requests that were sent to a pool lately: decayed sums, and what they were of."""

    started_s: float
    at_s: float
    requests: float = 0.0
    tokens: float = 0.0
    prompt: float = 0.0
    steps: float = 0.0
    drafted: float = 0.0
    proposing: float = 0.0
    cells: dict[tuple[str, str], _Cell] = field(default_factory=dict)
    max_k: int = 0
    curves: tuple[_Curve, ...] = ()
    crowd: Crowd = NOT_CROWDED
    read_s: float = -math.inf
    voters: float = 0.0
    batches: float = 0.0
    votes: list[float] = field(default_factory=list)
    """Seconds of a pass on every k, summed over the batches that voters met."""

    def age(self, now_s: float) -> None:
        factor = decay_factor(now_s - self.at_s, HALF_LIFE_S)
        self.at_s = max(self.at_s, now_s)
        self.requests *= factor
        self.tokens *= factor
        self.prompt *= factor
        self.steps *= factor
        self.drafted *= factor
        self.proposing *= factor

    def per_s(self) -> float:
        """Requests per second; what a sum that just began has not seen yet is known."""
        seen = 1.0 - decay_factor(max(1.0, self.at_s - self.started_s), HALF_LIFE_S)
        return self.requests * math.log(2.0) / HALF_LIFE_S / seen


class Crowds:
    """Follows the requests sent to every pool."""

    def __init__(self) -> None:
        self._mixes: dict[str, _Mix] = {}

    def sent(
        self, score: Score, estimate: Estimate | None, work: Work, now_s: float, *, cell: tuple[str, str]
    ) -> None:
        """Count a request that went to the pool of `score`.

        `cell` is its tenant and task, `estimate` what is believed of their drafts there, if there are any.
        """
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
        part = mix.cells.get(cell)
        if part is None:
            if len(mix.cells) >= _MOST_CELLS:
                del mix.cells[min(mix.cells, key=lambda name: mix.cells[name].tokens_at(now_s))]
            mix.cells[cell] = _Cell(work.output_tokens, now_s, estimate)
        else:
            part.tokens = part.tokens_at(now_s) + work.output_tokens
            part.at_s, part.estimate = max(part.at_s, now_s), estimate

    def refresh(self, now_s: float) -> None:
        """Look at the mixes anew that are older than a fifth of a second: for the background."""
        for mix in self._mixes.values():
            if mix.max_k and abs(now_s - mix.read_s) >= _MIXED_S:
                mix.curves, mix.read_s = _mixed(mix, mix.max_k, now_s), now_s

    def met(self, pool: Pool, now_s: float) -> Crowd:
        """The crowd a request meets in the pool, on whose cap it votes: ask once for every request.

        What tasks the crowd is of is as `refresh` left it.
        """
        mix = self._mixes.get(pool.profile)
        if mix is None or mix.requests <= 0.0:
            return NOT_CROWDED
        mix.age(now_s)
        if pool.drafter_is_model:
            if not mix.max_k:
                mix.max_k, mix.curves = pool.max_k, _mixed(mix, pool.max_k, now_s)
            mix.crowd = _voted(pool, mix)
        elif abs(now_s - mix.read_s) >= _FRESH_S:
            mix.crowd, mix.read_s = _crowded(pool, mix), now_s
        return mix.crowd


def _crowded(pool: Pool, mix: _Mix) -> Crowd:
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
    crowding = _MOST_CROWDING if busy >= _FULL else min(_MOST_CROWDING, 1.0 / (1.0 - busy))
    return Crowd(crowding=crowding, reading=min(1.0, per_s * few_s))


def _mixed(mix: _Mix, max_k: int, now_s: float) -> tuple[_Curve, ...]:
    """What every k makes of the recent tasks, as they are believed to be now; drafts weighted by steps."""
    curves = []
    parts = [(part.tokens_at(now_s), part.estimate) for part in mix.cells.values()]
    tokens = sum(weight for weight, _ in parts)
    for k in range(max_k + 1 if tokens > 0 else 0):
        steps = [weight / estimate.lengths[k] for weight, estimate in parts]
        total = sum(steps)
        drafted = sum(s * estimate.drafted[k] for s, (_, estimate) in zip(steps, parts, strict=True))
        proposing = sum(s * estimate.proposing[k] for s, (_, estimate) in zip(steps, parts, strict=True))
        curves.append(_Curve(total / tokens, drafted / total, min(1.0, proposing / total)))
    return tuple(curves)


def _voted(pool: Pool, mix: _Mix) -> Crowd:
    batch = 1.0 + pool.in_flight / pool.replicas
    context = (mix.prompt + mix.tokens / 2) / mix.requests
    kept = 1.0 - 1.0 / _VOTERS
    mix.voters = kept * mix.voters + 1.0
    mix.batches = kept * mix.batches + batch
    mix.votes += [0.0] * (len(mix.curves) - len(mix.votes))
    last, passes_s = mix.crowd, []
    for k, curve in enumerate(mix.curves):
        load = StepLoad(
            batch,
            1.0 - (1.0 - curve.proposing) ** batch,
            batch * curve.drafted,
            max(1.0, float(k)),
            batch * context,
            reading=last.reading,
        )
        passes_s.append(pool.step_time.seconds(load))
        mix.votes[k] = kept * mix.votes[k] + passes_s[k]
    if not passes_s:
        return last
    usual_s = passes_s[min(last.cap or 0, len(passes_s) - 1)]
    reading = min(1.0, mix.per_s() / pool.replicas * usual_s)
    if mix.batches < _ALONE * mix.voters:
        return Crowd(reading=reading)
    # Votes remember the load and not the acceptance: when that falls, the cap follows at once.
    times = [vote * curve.steps_per_token for vote, curve in zip(mix.votes, mix.curves, strict=False)]
    best = min(range(len(times)), key=times.__getitem__)
    before = mix.crowd.cap
    if before is not None and before < len(times) and times[before] < _SWITCH_GAIN * times[best]:
        best = before
    return Crowd(cap=best, reading=reading)
