"""Drafters that copy: each k by its own replays, shrunk like everything else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from random import Random

import pytest
from drafting import simulated_request
from hypothesis import given
from hypothesis import strategies as st

from policies.acceptance import Estimate, estimate_copying, pooled, replays
from policies.acceptance.copying import NO_REPLAYS
from policies.priors import prior
from policies.replay import Lookup, Replayed, replay
from policies.speedup import effective_acceptance

pytestmark = pytest.mark.unit

ASSUMED = prior("ngram", "code")
K = 6


def one_answer(rng: Random) -> dict[str, float]:
    """A text that repeats pieces of its prompt, replayed."""
    pieces = [[rng.randrange(500) for _ in range(rng.randint(4, 30))] for _ in range(8)]
    prompt = [token for piece in pieces for token in piece]
    answer: list[int] = []
    while len(answer) < 120:
        answer += rng.choice(pieces) if rng.random() < 0.4 else [rng.randrange(500, 900) for _ in range(12)]
    return replay(prompt, answer, Lookup(2, 5), K, max_model_len=4096).counters()


def answers(seed: int, number: int) -> dict[str, float]:
    rng = Random(seed)
    return pooled([one_answer(rng) for _ in range(number)])


def believed(*levels: Mapping[str, float], strength: float = 20.0, k: int = 4, max_k: int = K) -> Estimate:
    read = []
    for counts in levels:
        read.append(replays(counts, above=read[-1] if read else NO_REPLAYS))
    return estimate_copying(ASSUMED, read, prior_strength=strength, reference_k=k, max_k=max_k)


def test_much_evidence_is_what_was_replayed_at_every_k() -> None:
    """Tokens and drafts per step, and the share of steps with a draft, whatever the positions would say."""
    counts = answers(1, 400)
    found = believed(counts)
    for k in range(1, K + 1):
        steps = counts[f"steps:{k}"]
        assert found.lengths[k] == pytest.approx(counts[f"tokens:{k}"] / steps, rel=0.02)
        assert found.drafted[k] == pytest.approx(counts[f"drafted:{k}"] / steps, rel=0.03)
        assert found.proposing[k] == pytest.approx(counts[f"proposing:{k}"] / steps, rel=0.03)
    assert found.alpha == effective_acceptance(found.lengths[4], 4)
    assert found.evidence_requests == 400


def test_the_deviation_is_the_ratio_estimators() -> None:
    """With many requests: sqrt of sum (y - r x)^2 over X, at each k."""
    rng = Random(2)
    cells = [one_answer(rng) for _ in range(300)]
    found = believed(pooled(cells))
    for k in (1, 3, K):
        x = [cell.get(f"steps:{k}", 0.0) for cell in cells]
        y = [cell.get(f"tokens:{k}", 0.0) - steps for cell, steps in zip(cells, x, strict=True)]
        rate = sum(y) / sum(x)
        error = math.sqrt(sum((b - rate * a) ** 2 for a, b in zip(x, y, strict=True))) / sum(x)
        assert found.deviations[k] == pytest.approx(error, rel=0.15)


def test_an_answer_of_two_tokens_is_evidence_like_any_other() -> None:
    """Its one step is its last, which counts no position: it is replayed at every k all the same."""
    counts = replay([1, 2, 3, 1, 2], [3, 9], Lookup(1, 3), K, max_model_len=4096).counters()
    assert [at.steps for at in replays(counts).at] == [1.0] * K
    short, none = believed(counts), believed()
    assert short.evidence_requests == 1
    assert none.lengths[4] > short.lengths[4] > 0.9 * none.lengths[4]
    many = answers(3, 40)
    assert believed(pooled([many, counts])).lengths[4] == pytest.approx(believed(many).lengths[4], rel=0.01)


def test_without_replays_the_prior_stands_at_every_k() -> None:
    """And its deviations are those of a prior."""
    found, other = believed({}), estimate_copying(ASSUMED, [], prior_strength=20, reference_k=4, max_k=K)
    assert found.lengths == other.lengths
    assert found.alpha == pytest.approx(0.35)
    assert found.deviations[4] > 0.1


def test_a_small_tenant_borrows_from_its_task_at_every_k() -> None:
    """Without answers of its own it has its task's curve; with a few it lies between."""
    task, own = (
        answers(3, 200),
        Replayed(
            tuple(simulated_request(Random(4), (0.0,), (0.0,), k=k, tokens=60) for k in range(1, K + 1))
        ).counters(),
    )
    borrowed, little = believed(task, task, {}), believed(task, task, own)
    assert borrowed.lengths == pytest.approx(believed(task, task).lengths)
    for k in range(1, K + 1):
        assert 1.0 < little.lengths[k] < borrowed.lengths[k]
    assert little.own_steps == 59  # the last one was clipped to what was kept


def test_a_reference_beyond_what_the_drafter_can_is_extrapolated() -> None:
    """A pool with k 2 is compared at the policy's 4, by its positions."""
    rng = Random(5)
    cells = [
        Replayed(tuple(simulated_request(rng, (0.8,), (0.5, 0.9), k=k, tokens=80) for k in (1, 2))).counters()
        for _ in range(60)
    ]
    found = believed(pooled(cells), max_k=2)
    assert len(found.lengths) == 5
    assert list(found.lengths) == sorted(found.lengths)
    assert found.lengths[4] - found.lengths[2] < found.lengths[2] - 1


SOUND = answers(6, 3)


@given(
    st.dictionaries(
        st.sampled_from(sorted(SOUND)),
        st.one_of(
            st.sampled_from([math.nan, math.inf, -math.inf, -1.0, 0.0, 5e-324, 1e308]), st.floats(0, 1e6)
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 10),
)
def test_no_cell_ever_poisons_an_estimate(poison: dict[str, float], k: int) -> None:
    """Whatever numbers a level holds, every curve stays within its bounds and nothing is NaN."""
    poisoned = {**SOUND, **poison}
    for levels in ([poisoned], [SOUND, poisoned], [poisoned, SOUND], [SOUND, poisoned, SOUND]):
        found = believed(*levels, k=k)
        for at, length in enumerate(found.lengths):
            assert 1.0 <= length <= at + 1 + 1e-6
            assert length - 1 <= found.drafted[at] + 1e-6 <= at + 2e-6
            assert 0 <= found.proposing[at] <= 1
            assert 0 <= found.deviations[at] < math.inf
        assert 0 <= found.interval[0] <= found.alpha + 1e-9 <= found.interval[1] + 2e-9 <= 1 + 3e-9


@pytest.mark.parametrize("name", ["tokens:2", "drafted:3", "xx:1", "xy:4", "yy:5", "steps:1"])
def test_a_cell_that_lost_a_field_counts_as_missing(name: str) -> None:
    """What is left of it would be read wrongly."""
    lost = {key: value for key, value in SOUND.items() if key != name}
    assert replays(lost) == NO_REPLAYS
