"""Nominal 90 % intervals hold the truth about as often as they say, when acceptance differs by request.

What is asserted is seeded, so it does not change from run to run. A share of n repetitions has a binomial
error of its own; single cells may be two standard errors beside 85 to 95 %, and few may use that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from random import Random
from typing import NamedTuple

import pytest
from drafting import simulated_request
from drawn import DRAWS, Draw, beta_around, counted, long_run_length

from policies.acceptance import (
    NORMAL_90,
    Estimate,
    Prior,
    common_shift,
    estimate,
    estimate_copying,
    level,
    pooled,
    replays,
)
from policies.evidence import RequestSteps, counters
from policies.replay import Replayed
from policies.speedup import effective_acceptance

pytestmark = pytest.mark.unit

SHORT, LONG = (15, 60), (150, 300)
STRENGTH, REFERENCE_K = 20, 4
OFF = (0.0, -0.1, 0.1)
"""By how much the prior misses alpha: one of its own standard deviations."""
REPETITIONS = 250
OTHER_TASKS = 8


class Cell(NamedTuple):
    """One line of the grid, and how often the interval held the truth."""

    level: str
    draw: str
    requests: int
    tokens: tuple[int, int]
    off: float
    share: float
    width: float


@cache
def drawn(
    draw: str, requests: int, ks: tuple[int, ...], tokens: tuple[int, int]
) -> Sequence[Mapping[str, float]]:
    seed = requests * tokens[1] + sum(ks)
    return counted(DRAWS[draw], tasks=REPETITIONS, requests=requests, ks=ks, tokens=tokens, seed=seed)


@cache
def others_around(mean: float) -> Sequence[Mapping[str, float]]:
    """What 100 requests of other tenants counted, who do better or worse."""
    around: Draw = beta_around(mean, 10.0)
    return counted(around, tasks=REPETITIONS, requests=100, ks=(4,), tokens=SHORT, seed=1)


def believed(
    of_level: str, draw: str, own: Mapping[str, float], *, number: int, alpha: float, off: float
) -> Estimate:
    """What a level says of its `own` counters, whatever is above them being `off` beside `alpha`."""
    given, levels = alpha + off, [own]
    if of_level == "tenant alone":  # the same counters are its task's, its temperature's and its own
        levels = [own] * 3
    elif of_level == "tenant":
        task = pooled([own, others_around(alpha + off)[number]])
        levels = [task, task, own]
    prior = Prior((given,), (1.0,))
    if of_level == "all tasks":  # every prior is 0.1 too high, which the others show
        prior = Prior((given + 0.1,), (1.0,))
        shown = drawn(draw, 36, (4,), SHORT)
        tasks = [shown[(number * OTHER_TASKS + i) % REPETITIONS] for i in range(OTHER_TASKS)]
        evidence = {i: (Prior((alpha + 0.1,), (1.0,)), level(counts)) for i, counts in enumerate(tasks)}
        prior = common_shift(evidence, prior_strength=STRENGTH).of("own").applied(prior)
    return estimate(prior, levels, prior_strength=STRENGTH, reference_k=REFERENCE_K, max_k=8)


def cell(of_level: str, draw: str, *, requests: int, tokens: tuple[int, int], off: float) -> Cell:
    truth = effective_acceptance(long_run_length(draw, REFERENCE_K), REFERENCE_K)
    intervals = [
        believed(of_level, draw, own, number=number, alpha=truth, off=off).interval
        for number, own in enumerate(drawn(draw, requests, (4,), tokens))
    ]
    hits = sum(low <= truth <= high for low, high in intervals)
    width = sum(high - low for low, high in intervals)
    return Cell(of_level, draw, requests, tokens, off, hits / REPETITIONS, width / REPETITIONS)


def within(share: float, *, high: float = 0.95, repetitions: int = REPETITIONS) -> bool:
    """Whether a share may be one of 85 % to `high`, given its own error."""
    low = 0.85
    error_low, error_high = (math.sqrt(p * (1 - p) / repetitions) for p in (low, high))
    return low - 2 * error_low <= share <= high + 2 * error_high


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("of_level", ["task", "tenant alone"])
def test_intervals_cover_what_they_promise(of_level: str, draw: str) -> None:
    """From 8 to 300 requests, short and long, whether the prior is right or off by 0.1."""
    grid = [
        cell(of_level, draw, requests=requests, tokens=tokens, off=off)
        for requests in (8, 15, 36, 100, 300)
        for tokens in (SHORT, LONG)
        for off in OFF
    ]
    print(*grid, sep="\n")
    assert [one for one in grid if not within(one.share)] == []
    assert sum(0.85 <= one.share <= 0.95 for one in grid) >= 0.8 * len(grid)
    assert 0.88 <= sum(one.share for one in grid) / len(grid) <= 0.94


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("of_level", ["tenant", "all tasks"])
def test_intervals_cover_where_others_were_counted_too(of_level: str, draw: str) -> None:
    """A tenant 0.1 beside the others of its task, and a task 0.1 beside what all tasks have in common."""
    grid = [
        cell(of_level, draw, requests=requests, tokens=SHORT, off=off)
        for requests in (8, 36, 100)
        for off in OFF
    ]
    print(*grid, sep="\n")
    assert [one for one in grid if not within(one.share)] == []
    assert 0.88 <= sum(one.share for one in grid) / len(grid) <= 0.945


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("ks", [(4,), (1, 4, 8), (2, 6)], ids=str)
def test_decisions_see_what_the_interval_sees(draw: str, ks: tuple[int, ...]) -> None:
    """At every k, not only at those that were counted: quantiles of E[L_k], as decisions take them."""
    truths = {k: math.log(long_run_length(draw, k)) for k in (1, 2, 4, 6, 8)}
    for requests in (15, 100):
        hits = dict.fromkeys(truths, 0)
        for own in drawn(draw, requests, ks, SHORT):
            found = believed("tenant alone", draw, own, number=0, alpha=0.55, off=0.0)
            for k, truth in truths.items():
                length, deviation = found.length(k)
                hits[k] += abs(math.log(length) - truth) <= NORMAL_90 * deviation / length
        shares = {k: number / REPETITIONS for k, number in hits.items()}
        print(draw, ks, requests, shares)
        assert all(within(share, high=0.97) for share in shares.values())


def test_raw_steps_would_not_cover(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the design effect the same intervals hold the truth about half of the time: why it is there."""
    monkeypatch.setattr("policies.acceptance.design._blended", lambda *_: 1.0)
    assert cell("tenant alone", "broad", requests=36, tokens=SHORT, off=0.0).share < 0.7


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_the_dice_count_as_requests_do(alpha: float) -> None:
    """Arrays of requests sum up to what the counters of each do, last steps included."""
    (found,) = counted(
        lambda rng, n: rng.random(n) * 0 + alpha, tasks=1, requests=2, ks=(2, 3), tokens=(10, 10), seed=0
    )
    one, other = ([0] * 10, [0] * 10) if alpha == 0 else ([2, 2, 2, 0], [3, 3, 1])
    requests = [RequestSteps(2, [2] * len(one), one), RequestSteps(3, [3] * len(other), other)]
    assert found == {name: value for name, value in pooled(map(counters, requests)).items() if value}


def replayed(rng: Random, requests: int) -> dict[str, float]:
    """Answers of which some repeat their prompt and others do not, replayed at k = 1..4."""
    cells = []
    for _ in range(requests):
        coverage, tokens = (rng.betavariate(2, 4), 0.9), rng.randint(15, 60)
        steps = (simulated_request(rng, (0.8,), coverage, k=k, tokens=tokens) for k in range(1, 5))
        cells.append(Replayed(tuple(steps)).counters())
    return pooled(cells)


@pytest.mark.parametrize("requests", [8, 36, 100])
def test_intervals_of_replays_cover_too(requests: int) -> None:
    """Where a drafter copies, coverage differs by request; the truth is tokens over steps, ends included."""
    all_of_them = replayed(Random(0), 6000)
    truth = effective_acceptance(all_of_them["tokens:4"] / all_of_them["steps:4"], 4)
    rng = Random(requests)
    given = [replays(replayed(rng, requests)) for _ in range(120)]
    for levels in (1, 3):
        for off in (1.0, 0.7, 1.3):  # a prior that expects as many drafts, or fewer or more
            prior = Prior((0.8,), (0.33 * off, 0.9))
            found = [
                estimate_copying(
                    prior, [one] * levels, prior_strength=STRENGTH, reference_k=REFERENCE_K, max_k=4
                ).interval
                for one in given
            ]
            share = sum(low <= truth <= high for low, high in found) / len(found)
            print(f"replays: {levels} levels, {requests} requests, prior {off}: {share:.3f}")
            assert within(share, repetitions=len(found))
