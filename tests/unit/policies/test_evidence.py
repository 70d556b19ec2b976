"""From steps to counters and back: what counts, what is censored, what cannot be true."""

from __future__ import annotations

import math
from collections import Counter
from random import Random

import pytest
from drafting import simulated_request
from hypothesis import given
from hypothesis import strategies as st

from policies.acceptance import pooled
from policies.evidence import RequestSteps, clusters, counters, is_sound, lifetime, positions

pytestmark = pytest.mark.unit


@st.composite
def request_steps(draw: st.DrawFn) -> RequestSteps:
    k = draw(st.integers(0, 8))
    drafted = draw(st.lists(st.integers(0, k), max_size=12))
    return RequestSteps(k, drafted, [draw(st.integers(0, most)) for most in drafted])


def test_one_request_counts_as_the_definitions_say() -> None:
    """Reached, proposed and accepted by hand: a rejection, a draft that ended early, an empty one, an end."""
    steps = RequestSteps(k=3, per_step_drafted=[3, 1, 0, 3], per_step_accepted=[1, 1, 0, 3])
    assert positions(counters(steps)) == [(4, 3, 3), (3, 2, 1), (1, 1, 1)]


def test_a_bursty_histogram_has_its_known_conditionals() -> None:
    """39, 1, 0 and 3 steps that accepted 0 to 3 tokens: 0.09, 0.75 and 1.0, far from one geometric rate."""
    accepted = [0] * 39 + [1] + [3] * 3
    counts = counters(RequestSteps(3, [3] * 43, accepted))
    rates = [position.accepted / position.reached for position in positions(counts)]
    assert rates == [pytest.approx(0.093, abs=5e-4), 0.75, 1.0]


def test_the_last_step_counts_its_accepted_positions_only() -> None:
    """Behind the last kept token an acceptance would not show, so a rejection there must not count either."""
    rejected = counters(RequestSteps(4, [4], [2]))
    clipped = counters(RequestSteps(4, [2], [2]))
    assert positions(rejected) == positions(clipped) == [(1, 1, 1), (1, 1, 1)]


def test_plain_decoding_is_no_evidence_about_drafts() -> None:
    """With k 0 steps and tokens count, positions and moments do not."""
    counts = counters(RequestSteps(0, [0, 0], [0, 0]))
    assert counts == {
        "requests": 1, "steps": 2, "tokens": 2, "drafted": 0, "accepted": 0, "steps:0": 2, "tokens:0": 2,
    }  # fmt: skip


def test_a_request_without_steps_counts_as_a_request() -> None:
    """An answer of one token comes out of the prefill."""
    counts = counters(RequestSteps(4, [], []))
    assert (counts["requests"], counts["steps"], positions(counts), list(clusters(counts))) == (1, 0, [], [])


def test_moments_are_kept_for_each_k() -> None:
    """Requests of different k differ by k alone; their moments must not mix."""
    first, second = RequestSteps(2, [2, 2], [1, 2]), RequestSteps(4, [4], [4])
    assert list(clusters(pooled([counters(first), counters(second)]))) == [
        (2, 1, 2, 3, 4, 6, 9),
        (4, 1, 1, 4, 1, 4, 16),
    ]


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        (RequestSteps(-1, [], []), "outside"),
        (RequestSteps(33, [], []), "outside"),
        (RequestSteps(4, [1], []), "different numbers of steps"),
        (RequestSteps(4, [5], [0]), "5 drafted"),
        (RequestSteps(4, [1], [2]), "2 accepted"),
        (RequestSteps(4, [-1], [-1]), "-1 drafted"),
        (RequestSteps(4, [2], [-1]), "-1 accepted"),
        (RequestSteps(0, [1], [0]), "at k 0"),
        (RequestSteps(4, [math.nan], [math.nan]), "unreadable"),  # type: ignore[list-item]
        (RequestSteps(4, [2.0], [1.5]), "unreadable"),  # type: ignore[list-item]
        (RequestSteps(4, [4], [None]), "unreadable"),  # type: ignore[list-item]
        (RequestSteps(4, None, None), "unreadable"),  # type: ignore[arg-type]
        (RequestSteps(math.nan, [], []), "unreadable"),  # type: ignore[arg-type]
    ],
)
def test_impossible_step_counts_are_refused(steps: RequestSteps, problem: str) -> None:
    """They never reach a posterior, and the error says what is wrong."""
    with pytest.raises(ValueError, match=problem):
        counters(steps)


@given(request_steps())
def test_counters_agree_with_the_request(steps: RequestSteps) -> None:
    """Accepted positions add up to accepted tokens, tokens to the lifetime's, and the result is sound."""
    counts = counters(steps)
    assert sum(position.accepted for position in positions(counts)) == steps.accepted == counts["accepted"]
    assert {name: counts[name] for name in lifetime(steps)} == lifetime(steps)
    assert is_sound(counts)


@given(st.lists(request_steps(), max_size=8), st.randoms(), st.integers(0, 8))
def test_merging_in_any_order_equals_one_stream(
    requests: list[RequestSteps], order: Random, cut: int
) -> None:
    """Routers may add their parts in any order and grouping."""
    stream = pooled([counters(request) for request in requests])
    order.shuffle(requests)
    parts = [pooled([counters(request) for request in part]) for part in (requests[:cut], requests[cut:])]
    assert pooled(parts) == stream
    assert Counter(stream) == sum((Counter(counters(request)) for request in requests), Counter()) | Counter(
        dict.fromkeys(stream, 0)
    )


@pytest.mark.parametrize("tokens", [(1, 6), (10, 80)])
def test_known_acceptance_and_coverage_are_recovered(tokens: tuple[int, int]) -> None:
    """From drafts that ended early, under caps that differ by request, in short answers as in long ones."""
    rng = Random(7)
    acceptance, coverage = [0.55, 0.8, 0.7, 0.9], [0.6, 0.9, 0.75, 0.95]
    counts = pooled(
        [
            counters(simulated_request(rng, acceptance, coverage, k=rng.choice([1, 2, 4]), tokens=length))
            for length in (rng.randint(*tokens) for _ in range(60_000 // sum(tokens)))
        ]
    )
    for i, (reached, proposed, accepted) in enumerate(positions(counts)):
        assert abs(proposed / reached - coverage[i]) < 4 * deviation(coverage[i], reached)
        assert abs(accepted / proposed - acceptance[i]) < 4 * deviation(acceptance[i], proposed)


def deviation(rate: float, tries: float) -> float:
    return math.sqrt(rate * (1 - rate) / tries)


SOUND = counters(RequestSteps(3, [3, 3, 3], [3, 1, 2]))


@pytest.mark.parametrize("name", sorted(SOUND))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0])
def test_a_cell_with_an_impossible_number_is_unsound(name: str, value: float) -> None:
    """Wherever it stands."""
    assert is_sound(SOUND)
    assert not is_sound({**SOUND, name: value})


@pytest.mark.parametrize("name", ["proposed:1", "accepted:1", "proposed:2"])
def test_a_cell_that_lost_a_count_is_unsound(name: str) -> None:
    """Hits without tries, or a position reached without the one before it."""
    assert not is_sound({key: value for key, value in SOUND.items() if key != name})


def test_absurd_positions_are_passed_over() -> None:
    """Names something else wrote cost neither an exception nor memory."""
    assert positions({**SOUND, "reached:999999999": 1.0, "reached:x": 1.0}) == positions(SOUND)


def test_rounding_does_not_make_a_cell_unsound() -> None:
    """Counters that were decayed in different orders differ in their last digits."""
    assert is_sound({"reached:1": 1.0, "proposed:1": 1.0 + 1e-12, "accepted:1": 1.0 + 2e-12})
