"""How crowded a pool is, and the k that suits its crowd.

Work that lengthens the passes of an engine also raises the number of requests that are in them, which
lengthens them again. For an engine that gets lambda requests per second, each of S steps that add d seconds
to a pass which takes t0 by itself, and F seconds of prompt, by Little's law

    u = lambda (S d + F)        the share of the time that goes into the requests' own work
    T = t0 / (1 - u)            the mean pass
    B = lambda S T              the mean batch

So the delay a request causes counts T / t0 times: `crowding`. Where u is near 1 there is no such balance, the
pool is `overloaded`; see `policies.decide.pricing`.

Where the drafter is a model that runs once for every token, the largest k of a batch is everybody's cost:
requests that choose for themselves keep each other's k up, and mixed batches are worse than any uniform one.
There the pool has one k for all, the `cap`, and requests vote on it: each with the mean pass on each k of the
batch b it meets,

    T_k = t_k / (1 - lambda F_k),      lambda = r / T,      r = b / S

where t_k is a pass that reads no prompt, F_k what a prompt adds to it, and r how many prompts are read per
pass: by Little's law as many requests as end. What differs between two k at a given batch differs T / t0
times once the batch has followed, so a vote weighs as much. Since requests vote, busy times outweigh calm
ones; since the last few hundred vote, the cap does not follow every burst. The cap is the k with the least
time per token: the votes times the steps per token 1 / E[L_k] of the recent tasks, as they are believed to be
now.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from policies.acceptance import Estimate
from policies.cost import StepLoad
from policies.crowd_mix import Curve, Mix
from policies.decide.context import Pool, Score, Work

_FRESH_S: Final = 0.2
_MOST_WAITING: Final = 1000
_OVERLOADED: Final = 0.85
"""The share of the time in requests' own work from which more would hardly fit."""
_MOST_PROMPTS: Final = 0.95
_MOST_CROWDING: Final = 5.0
_FEW: Final = 4.0
"""Requests, beyond the first stair of a pass."""

_VOTERS: Final = 300.0
"""A vote that is so many votes old counts for 1 / e."""
_SWITCH_GAIN: Final = 0.02
"""A cap gives way to one that takes so much less time per token, once the batch has followed."""
_ALONE: Final = 1.5
"""Where voters meet fewer on average, themselves included, each has the k that suits it."""


class Crowd(NamedTuple):
    """What a decision needs to know of a pool's crowd: the fields of `Pool` with these names."""

    cap: int | None = None
    crowding: float = 1.0
    overloaded: bool = False
    reading: float = 0.0
    chunk: float = 0.0


NOT_CROWDED: Final = Crowd()


@dataclass(slots=True)
class _Votes:
    """On a pool's cap; sums over voters, older ones weighing less."""

    voters: float = 0.0
    batches: float = 0.0
    weights: float = 0.0
    seconds: list[float] = field(default_factory=list)
    """Of a pass on every k, times the vote's weight."""


@dataclass(slots=True)
class _Followed:
    """What is known of one pool. `met` are the batches of requests whose votes are not counted yet."""

    mix: Mix
    pool: Pool | None = None
    met: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_WAITING))
    votes: _Votes = field(default_factory=_Votes)
    crowd: Crowd = NOT_CROWDED
    read_s: float = -math.inf


class Crowds:
    """Follows the requests sent to every pool."""

    def __init__(self) -> None:
        self._pools: dict[str, _Followed] = {}

    def sent(
        self, score: Score, estimate: Estimate | None, work: Work, now_s: float, *, cell: tuple[str, str]
    ) -> None:
        """Count a request that went to the pool of `score`.

        `cell` is its tenant and task, `estimate` what is believed of their drafts there, if there are any.
        """
        followed = self._pools.get(score.profile)
        if followed is None:
            followed = self._pools[score.profile] = _Followed(Mix(now_s, now_s))
        followed.mix.age(now_s)
        followed.mix.add(score, work)
        if estimate is not None:
            followed.mix.believe(cell, estimate, work.output_tokens, now_s)

    def refresh(self, now_s: float) -> None:
        """Look anew at the crowds that were met, at most five times a second: for the background."""
        for followed in self._pools.values():
            if followed.pool is not None and abs(now_s - followed.read_s) >= _FRESH_S:
                followed.mix.age(now_s)
                followed.crowd = _looked_at(followed.pool, followed, now_s)
                followed.read_s = now_s

    def met(self, pool: Pool, now_s: float) -> Crowd:  # noqa: ARG002 - as `refresh` left it, whenever that was
        """The crowd a request meets in the pool, on whose cap it votes: ask once for every request."""
        followed = self._pools.get(pool.profile)
        if followed is None:
            return NOT_CROWDED
        followed.pool = pool
        followed.met.append(1.0 + pool.in_flight / pool.replicas)
        return followed.crowd


def _looked_at(pool: Pool, followed: _Followed, now_s: float) -> Crowd:
    if followed.mix.requests <= 0.0:
        return NOT_CROWDED
    found = _crowded(pool, followed.mix)
    curves = followed.mix.curves(pool.max_k, now_s) if pool.drafter_counts_k else ()
    if not curves:
        return found
    before = followed.crowd.cap
    usual = min(before or 0, len(curves) - 1)
    steps = max(1.0, followed.mix.tokens / followed.mix.requests * curves[usual].steps_per_token)
    counted = Counter(followed.met)
    followed.met.clear()
    for batch, voters in counted.items():
        _vote(followed, pool, curves, usual=usual, batch=batch, reading=batch / steps, voters=voters)
    reading = min(1.0, (1.0 + pool.in_flight / pool.replicas) / steps)
    return found._replace(cap=_elected(followed.votes, curves, before), reading=reading)


def _crowded(pool: Pool, mix: Mix) -> Crowd:
    """T / t0, with what the requests chose."""
    steps = max(1e-9, mix.steps)
    drafted, proposing = mix.drafted / steps, min(1.0, mix.proposing / steps)
    # Two batches tell what each request adds, beyond the first stair and where the pool is now.
    batch = max(_FEW, pool.in_flight / pool.replicas)
    few, many = (
        StepLoad(
            requests=requests,
            verifying=1.0 - (1.0 - proposing) ** requests,
            drafted=requests * drafted,
            context=requests * mix.context(),
        )
        for requests in (batch, batch + _FEW)
    )
    chunk = mix.prompt / mix.requests
    few_s = pool.step_time.seconds(few)
    added_s = max(0.0, pool.step_time.seconds(many) - few_s) / _FEW
    prompt_s = max(0.0, pool.step_time.seconds(few._replace(prefill=chunk)) - few_s)
    per_s = mix.per_s() / pool.replicas
    busy = per_s * (mix.steps / mix.requests * added_s + prompt_s)
    overloaded = busy >= _OVERLOADED
    return Crowd(
        crowding=_MOST_CROWDING if overloaded else min(_MOST_CROWDING, 1.0 / (1.0 - busy)),
        overloaded=overloaded,
        reading=min(1.0, per_s * few_s),
        chunk=chunk,
    )


def _vote(
    followed: _Followed,
    pool: Pool,
    curves: Sequence[Curve],
    *,
    usual: int,
    batch: float,
    reading: float,
    voters: int,
) -> None:
    """Add the votes of so many requests that met the same batch; `reading` prompts are read per pass then."""
    mix, votes = followed.mix, followed.votes
    passes = [_passes_s(pool, k, curve, batch, mix) for k, curve in enumerate(curves)]
    usual_s = passes[usual][0] + reading * passes[usual][1]
    alone_s = pool.step_time.seconds(_load(usual, curves[usual], 1.0, mix.context()))
    weight = voters * min(_MOST_CROWDING, max(1.0, usual_s / alone_s))
    kept = (1.0 - 1.0 / _VOTERS) ** voters
    votes.voters = kept * votes.voters + voters
    votes.batches = kept * votes.batches + voters * batch
    votes.weights = kept * votes.weights + weight
    votes.seconds += [0.0] * (len(curves) - len(votes.seconds))
    for k, (plain_s, prompt_s) in enumerate(passes):
        prompts = min(_MOST_PROMPTS, reading / usual_s * prompt_s)
        votes.seconds[k] = kept * votes.seconds[k] + weight * plain_s / (1.0 - prompts)


def _elected(votes: _Votes, curves: Sequence[Curve], before: int | None) -> int | None:
    """The cap that is voted for; None where requests are mostly alone."""
    if votes.voters <= 0 or votes.batches < _ALONE * votes.voters:
        return None
    # Votes remember the load and not the acceptance: when that falls, the cap follows at once.
    times = [of_k * curve.steps_per_token for of_k, curve in zip(votes.seconds, curves, strict=False)]
    best = min(range(len(times)), key=times.__getitem__)
    least_gain = 1.0 + _SWITCH_GAIN * votes.voters / votes.weights
    if before is not None and before < len(times) and times[before] < least_gain * times[best]:
        return before
    return best


def _load(k: int, curve: Curve, batch: float, context: float) -> StepLoad:
    return StepLoad(
        batch,
        1.0 - (1.0 - curve.proposing) ** batch,
        batch * curve.drafted,
        max(1.0, float(k)),
        batch * context,
    )


def _passes_s(pool: Pool, k: int, curve: Curve, batch: float, mix: Mix) -> tuple[float, float]:
    """Seconds of the batch's pass on this k, and what a prompt beside it adds."""
    load = _load(k, curve, batch, mix.context())
    plain_s = pool.step_time.seconds(load)
    reading_s = pool.step_time.seconds(load._replace(prefill=mix.prompt / mix.requests))
    return plain_s, max(0.0, reading_s - plain_s)
