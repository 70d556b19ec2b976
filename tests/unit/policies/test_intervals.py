"""Nominal 90 % intervals hold the truth about as often as they say, when acceptance differs by request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from random import Random

import pytest
from drafting import simulated_request

from policies.acceptance import Estimate, Prior, estimate, estimate_copying, pooled, replays
from policies.evidence import counters
from policies.replay import Replayed
from policies.speedup import acceptance_length, effective_acceptance

pytestmark = pytest.mark.unit

Draw = Callable[[Random], float]


def peaked(rng: Random) -> float:
    """Mean 0.65, deviation 0.15."""
    return rng.betavariate(6, 3.2)


def high(rng: Random) -> float:
    return rng.betavariate(8, 2)


def low(rng: Random) -> float:
    return rng.betavariate(3, 7)


def uniform(rng: Random) -> float:
    return rng.random()


ONE_K, MIXED_K = (4,), (1, 4, 8)
SHORT, LONG = (15, 60), (150, 300)


def long_run_length(alpha_of_request: Draw, k: int) -> float:
    """Tokens over steps of very many requests: one of so many tokens takes 1 / L of them in steps."""
    rng = Random(0)
    alphas = [alpha_of_request(rng) for _ in range(20_000)]
    return len(alphas) / sum(1 / acceptance_length((alpha,), (1.0,), k) for alpha in alphas)


@cache
def repetitions_of(
    alpha_of_request: Draw, requests: int, ks: tuple[int, ...], tokens: tuple[int, int], repetitions: int
) -> list[dict[str, float]]:
    """The counters of so many tasks, each with so many requests; the first of each are always the same."""
    rng = Random(f"{requests} {ks} {tokens}")
    return [
        pooled(
            [
                counters(
                    simulated_request(
                        rng, (alpha_of_request(rng),), (1.0,), k=ks[n % len(ks)], tokens=rng.randint(*tokens)
                    )
                )
                for n in range(requests)
            ]
        )
        for _ in range(repetitions)
    ]


def estimates(
    alpha_of_request: Draw,
    *,
    requests: int,
    ks: tuple[int, ...],
    tokens: tuple[int, int],
    prior_alpha: float,
    levels: int,
    repetitions: int = 300,
) -> list[Estimate]:
    return [
        estimate(Prior((prior_alpha,), (1.0,)), [counts] * levels, prior_strength=20, reference_k=4, max_k=8)
        for counts in repetitions_of(alpha_of_request, requests, ks, tokens, repetitions)
    ]


def covered(found: Sequence[Estimate], length: float) -> float:
    truth = effective_acceptance(length, 4)
    return sum(one.interval[0] <= truth <= one.interval[1] for one in found) / len(found)


@pytest.mark.parametrize("levels", [1, 3], ids=["task", "tenant"])
@pytest.mark.parametrize(
    ("alpha_of_request", "requests", "ks", "tokens"),
    [
        (peaked, 15, ONE_K, SHORT),
        (peaked, 15, MIXED_K, SHORT),
        (peaked, 36, ONE_K, SHORT),
        (peaked, 36, MIXED_K, SHORT),
        (peaked, 100, ONE_K, SHORT),
        (peaked, 15, ONE_K, LONG),
        (high, 15, ONE_K, SHORT),
        (low, 15, ONE_K, SHORT),
        (low, 36, MIXED_K, SHORT),
        (uniform, 15, ONE_K, SHORT),
        (uniform, 36, ONE_K, SHORT),
        (uniform, 100, ONE_K, SHORT),
    ],
)
def test_intervals_cover_what_they_promise(
    alpha_of_request: Draw, requests: int, ks: tuple[int, ...], tokens: tuple[int, int], levels: int
) -> None:
    """Of 300 repetitions 85 to 95 %; the share's own error is 1.7 %, hence a little slack."""
    length = long_run_length(alpha_of_request, 4)
    found = estimates(
        alpha_of_request,
        requests=requests,
        ks=ks,
        tokens=tokens,
        prior_alpha=effective_acceptance(length, 4),
        levels=levels,
    )
    share = covered(found, length)
    print(f"{levels} levels, {requests} requests, k {ks}, {tokens} tokens: {share:.3f}")
    assert 0.85 - 0.015 <= share <= 0.95 + 0.015


@pytest.mark.parametrize("k", [1, 2, 8])
def test_decisions_see_what_the_interval_sees(k: int) -> None:
    """At every k, not only the reference: E[L_k] +- 1.64 of its deviations holds the long run's length."""
    length = long_run_length(peaked, k)
    found = estimates(peaked, requests=36, ks=MIXED_K, tokens=SHORT, prior_alpha=0.65, levels=3)
    hits = sum(abs(one.lengths[k] - length) <= 1.6449 * one.deviations[k] for one in found)
    assert 0.82 <= hits / len(found) <= 0.965


@pytest.mark.parametrize("off", [-0.1, 0.1])
def test_a_prior_that_is_off_costs_little_cover(off: float) -> None:
    """A tenth of alpha is one of the prior's deviations; the intervals know that priors err."""
    length = long_run_length(peaked, 4)
    found = estimates(peaked, requests=15, ks=ONE_K, tokens=SHORT, prior_alpha=0.64 + off, levels=3)
    assert covered(found, length) >= 0.82


def test_raw_steps_would_not_cover(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the design effect the same intervals hold the truth about half of the time: why it is there."""
    monkeypatch.setattr("policies.acceptance.design._blended", lambda *_: 1.0)
    found = estimates(peaked, requests=36, ks=ONE_K, tokens=SHORT, prior_alpha=0.64, levels=3)
    assert covered(found, long_run_length(peaked, 4)) < 0.7


def replayed(rng: Random, requests: int) -> dict[str, float]:
    """Answers of which some repeat their prompt and others do not, replayed at k = 1..4."""
    cells = []
    for _ in range(requests):
        coverage, tokens = (rng.betavariate(2, 4), 0.9), rng.randint(15, 60)
        steps = (simulated_request(rng, (0.8,), coverage, k=k, tokens=tokens) for k in range(1, 5))
        cells.append(Replayed(tuple(steps)).counters())
    return pooled(cells)


@pytest.mark.parametrize("requests", [15, 36, 100])
@pytest.mark.parametrize("levels", [1, 3], ids=["task", "tenant"])
def test_intervals_of_replays_cover_too(requests: int, levels: int) -> None:
    """Where a drafter copies, coverage differs by request; the truth is tokens over steps, ends included."""
    all_of_them = replayed(Random(0), 6000)
    truth = effective_acceptance(all_of_them["tokens:4"] / all_of_them["steps:4"], 4)
    rng, found = Random(requests), []
    for _ in range(200):
        level = replays(replayed(rng, requests))
        found.append(
            estimate_copying(
                Prior((0.8,), (0.33, 0.9)), [level] * levels, prior_strength=20, reference_k=4, max_k=4
            )
        )
    share = sum(one.interval[0] <= truth <= one.interval[1] for one in found) / len(found)
    print(f"replays: {levels} levels, {requests} requests: {share:.3f}")
    assert 0.85 - 0.02 <= share <= 0.95 + 0.02
