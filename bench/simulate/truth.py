"""What the oracle knows: true acceptance per task, true pass times; and vLLM's table chosen from both."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from bench.simulate.drafting import Drafting, steps_at
from bench.simulate.surfaces import Machine
from bench.simulate.workload import Lengths, TaskLoad, Traffic
from policies.acceptance import Estimate
from policies.acceptance.estimates import Curves
from policies.cost import StepLoad, StepTime

_ANSWERS = 600
_TILES = 16.0
"""Tokens: one tile of a CPU's kernel, two paddings of a GPU's graphs."""
_CERTAIN = 1e9
"""Steps behind what is known."""


class Behaviour(NamedTuple):
    """A task's steps by k = 0, 1, …: tokens, draft tokens and the chance of any, each per step."""

    lengths: tuple[float, ...]
    drafted: tuple[float, ...]
    proposing: tuple[float, ...]


@lru_cache(maxsize=256)
def behaviour(drafting: Drafting, output: Lengths, max_tokens: int, max_k: int) -> Behaviour:
    """By playing many answers: all tokens over all steps, which is what mean decode times follow."""
    rng = np.random.default_rng(20_261_122)
    steps, tokens = np.zeros(max_k + 1), np.zeros(max_k + 1)
    drafted, proposing = np.zeros(max_k + 1), np.zeros(max_k + 1)
    for _ in range(_ANSWERS):
        length = min(max_tokens, output.draw(rng))
        drafts = drafting.drafts(length, max_k, rng)
        for k in range(max_k + 1):
            taken = steps_at(drafts, length, k)
            steps[k] += taken.steps
            tokens[k] += taken.decode_tokens
            drafted[k] += taken.drafted
            proposing[k] += sum(d > 0 for d in taken.per_step_drafted)
    per_step = [tuple((counts / steps).tolist()) for counts in (tokens, drafted, proposing)]
    return Behaviour(*per_step)


def true_estimate(load: TaskLoad, now_s: float, *, max_k: int, reference_k: int) -> Estimate:
    """The truth about a task at a time, in the form the decision reads, without any doubt."""
    return _estimate(load.drafting_at(now_s), load.output, load.max_tokens, max_k, reference_k)


@lru_cache(maxsize=256)
def _estimate(drafting: Drafting, output: Lengths, max_tokens: int, max_k: int, reference_k: int) -> Estimate:
    known = behaviour(drafting, output, max_tokens, max_k)
    gains = np.diff(known.lengths)
    chances = gains / np.concatenate([[1.0], gains[:-1]])
    return Estimate(
        acceptance=tuple(np.clip(chances, 0.0, 1.0).tolist()),
        coverage=(1.0,) * max_k,
        spread=(0.0,) * max_k,
        reference_k=reference_k,
        evidence_steps=_CERTAIN,
        own_steps=_CERTAIN,
        evidence_requests=_CERTAIN,
        max_k=max_k,
        curves=Curves(known.lengths, (0.0,) * (max_k + 1), known.drafted, known.proposing),
    )


class Reading(NamedTuple):
    """How an engine reads prompts: the share of passes that do, and the tokens each of these reads."""

    share: float = 0.0
    tokens: float = 0.0


class TrueCost:
    """The true surface in the form decisions read, which is straight: chords around an engine's load."""

    def __init__(self, machine: Machine, max_k: int) -> None:
        self._machine = machine
        self._max_k = max_k

    def around(self, load: StepLoad, reading: Reading) -> StepTime:
        """Chords of about the size that requests move the load by.

        Prompts are read in some of the passes, where every further token costs more. The step from one token
        to two is one of `StepTime`'s own stairs.
        """
        crowd = load.requests + 1.0
        at = load._replace(requests=crowd, verifying=0.0)
        wide_s = self._seconds(StepLoad(requests=2.0)) - self._seconds(StepLoad(requests=1.0))
        plain_s = self._mean_s(at, reading)
        # A lone token's stair is `wide`'s, not the first draft's.
        stair_s = wide_s if crowd + load.drafted <= 1.0 else 0.0
        # In a crowd, over whole tiles: between two of them one more token costs nothing, or the tile.
        tokens = min(_TILES, crowd + load.drafted)
        others, more = max(1.0, tokens), max(self._max_k, tokens)

        def slope(size: float, moved: StepLoad, stair_s: float = 0.0) -> float:
            return max(0.0, (self._mean_s(moved, reading) - plain_s - stair_s) / size)

        found = StepTime(
            base=0.0,
            per_request=slope(others, at._replace(requests=crowd + others)) if crowd > 1.0 else 0.0,
            wide=wide_s,
            per_drafted=slope(more, at._replace(drafted=load.drafted + more), stair_s),
            per_asked=slope(1.0, at._replace(asked=load.asked + 1.0)) if self._max_k else 0.0,
            per_context=slope(1000.0, at._replace(context=load.context + 1000.0)),
            per_prefill=slope(500.0, at._replace(prefill=500.0), stair_s),
        )
        here = at._replace(verifying=1.0 if load.drafted > 0 else 0.0)
        return found._replace(base=max(1e-6, self._seconds(at) - found.seconds(here)))

    def expected_s(self, load: StepLoad) -> float:
        """Seconds of a pass over an expected load, in a part of whose passes something is verified."""
        share = min(1.0, load.verifying)
        time_s = 0.0
        if share < 1.0:
            time_s += (1.0 - share) * self._seconds(load._replace(verifying=0.0, drafted=0.0))
        if share > 0.0:
            time_s += share * self._seconds(load._replace(verifying=1.0, drafted=load.drafted / share))
        return time_s

    def _mean_s(self, load: StepLoad, reading: Reading) -> float:
        plain_s = (1.0 - reading.share) * self._seconds(load)
        return plain_s + reading.share * self._seconds(load._replace(prefill=load.prefill + reading.tokens))

    def _seconds(self, load: StepLoad) -> float:
        return self._machine.surface.seconds(load, drafter=self._max_k > 0)


def batch_table(traffic: Traffic, machine: Machine, max_k: int, *, drafts_by_model: bool) -> tuple[int, ...]:
    """The best k by batch size (vLLM's `num_speculative_tokens_per_batch_size`), indexed from 0.

    Most tokens per second of a decoding batch of the mix, by the true surface and the mix's true behaviour at
    the start: the best an operator could measure beforehand.
    """
    cost = TrueCost(machine, max_k)
    mix = _mixed(traffic, max_k)
    shares = [load.share for load in traffic.tasks]
    contexts = [load.prompt.mean + load.output.mean / 2 for load in traffic.tasks]
    context = sum(map(operator.mul, shares, contexts)) / sum(shares)

    def best(requests: int) -> int:
        def rate(k: int) -> float:
            load = StepLoad(
                requests=requests,
                verifying=1.0 - (1.0 - mix.proposing[k]) ** requests,
                drafted=requests * mix.drafted[k],
                asked=k if drafts_by_model else 0,
                context=requests * context,
            )
            return requests * mix.lengths[k] / cost.expected_s(load)

        return max(range(max_k + 1), key=rate)

    sizes = [best(requests) for requests in range(1, machine.slots + 1)]
    return (sizes[0], *sizes)


def task_loads(traffic: Traffic) -> Mapping[tuple[str, str], TaskLoad]:
    """The load behind every (tenant, task)."""
    return {
        (tenant.name, load.task): load
        for tenant in traffic.tenants
        for load in (tenant.tasks or traffic.tasks)
    }


def _mixed(traffic: Traffic, max_k: int) -> Behaviour:
    """The mix's behaviour: every task weighs by its tokens, in steps by the steps these take."""
    known = [behaviour(load.drafting, load.output, load.max_tokens, max_k) for load in traffic.tasks]
    tokens = np.array([load.share * load.output.mean for load in traffic.tasks])[:, None]
    steps = tokens / np.array([one.lengths for one in known])
    total = steps.sum(axis=0)
    return Behaviour(
        tuple((tokens.sum() / total).tolist()),
        tuple(((steps * np.array([one.drafted for one in known])).sum(axis=0) / total).tolist()),
        tuple(((steps * np.array([one.proposing for one in known])).sum(axis=0) / total).tolist()),
    )
