"""Replayed steps are those of an engine that is simulated here token by token, the slow and plain way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.evidence import MAX_POSITIONS, RequestSteps, clusters, counters, is_sound, positions
from policies.replay import Lookup, replay, replay_each

pytestmark = pytest.mark.unit

AMPLE = 1 << 20
LOOKUP = Lookup(2, 5)


def proposed(tokens: list[int], lookup: Lookup, k: int) -> list[int]:
    """What follows the earliest earlier occurrence of the longest repeated ending of `tokens`."""
    for length in range(lookup.longest, lookup.shortest - 1, -1):
        for begin in range(len(tokens) - length):
            if tokens[begin : begin + length] == tokens[len(tokens) - length :]:
                return tokens[begin + length :][:k]
    return []


def engine_steps(
    text: tuple[list[int], list[int]], lookup: Lookup, k: int, engine_k: int, max_model_len: int
) -> tuple[list[int], list[int]]:
    """The step log of an engine that writes the answer, one target pass after the other."""
    prompt, answer = text
    tokens, left = [*prompt, answer[0]], answer[1:]
    in_pass = len(prompt)  # tokens of the last pass, drafts included
    drafted, accepted = [], []
    while left:
        fits = in_pass + engine_k <= max_model_len
        draft = (proposed(tokens, lookup, k) if fits else [0] * k)[: max(0, max_model_len - len(tokens) - 1)]
        in_pass = len(tokens) + len(draft)
        right = 0
        while right < min(len(draft), len(left)) and draft[right] == left[right]:
            right += 1
        clipped = right == len(left)
        drafted.append(len(left) - 1 if clipped else len(draft))
        accepted.append(len(left) - 1 if clipped else right)
        tokens, left = tokens + left[: right + 1], left[right + 1 :]
    return drafted, accepted


@st.composite
def texts(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Prompt and answer over few letters, so that everything repeats and overlaps."""
    letters = st.integers(0, draw(st.integers(0, 4)))
    return draw(st.lists(letters, max_size=40)), draw(st.lists(letters, min_size=1, max_size=40))


@st.composite
def lookups(draw: st.DrawFn) -> Lookup:
    shortest = draw(st.integers(1, 4))
    return Lookup(shortest, draw(st.integers(shortest, 6)))


@given(text=texts(), lookup=lookups(), max_k=st.integers(1, 9))
def test_every_step_is_the_engines(text: tuple[list[int], list[int]], lookup: Lookup, max_k: int) -> None:
    """Drafted and accepted of each step, at each k, for any text and any lookup."""
    replayed = replay(*text, lookup, max_k, max_model_len=AMPLE)
    assert [steps.k for steps in replayed.requests] == list(range(1, max_k + 1))
    for steps in replayed.requests:
        expected = engine_steps(text, lookup, steps.k, max_k, AMPLE)
        assert (steps.per_step_drafted, steps.per_step_accepted) == expected


@given(text=texts(), lookup=lookups(), max_k=st.integers(1, 9), spare=st.integers(0, 12))
def test_steps_near_the_models_length_are_the_engines(
    text: tuple[list[int], list[int]], lookup: Lookup, max_k: int, spare: int
) -> None:
    """Where the model's length comes into sight the engine verifies zeros, and ever fewer of them."""
    prompt, answer = text
    limit = len(prompt) + len(answer) + spare
    for steps in replay(prompt, answer, lookup, max_k, max_model_len=limit).requests:
        expected = engine_steps(text, lookup, steps.k, max_k, limit)
        assert (steps.per_step_drafted, steps.per_step_accepted) == expected


@given(text=texts(), lookup=lookups(), max_k=st.integers(1, MAX_POSITIONS))
def test_accounts_add_up(text: tuple[list[int], list[int]], lookup: Lookup, max_k: int) -> None:
    """Tokens = 1 + sum(1 + accepted) at every k, and the numbers could be an engine's."""
    prompt, answer = text
    for steps in replay(prompt, answer, lookup, max_k, max_model_len=AMPLE).requests:
        assert steps.problem() is None
        assert 1 + steps.decode_tokens == len(answer)


@given(text=texts(), max_k=st.integers(1, 9))
def test_counters_are_those_of_the_requests(text: tuple[list[int], list[int]], max_k: int) -> None:
    """Per k the totals and moments a real request would leave; positions those of the largest k."""
    replayed = replay(*text, LOOKUP, max_k, max_model_len=AMPLE)
    counts = replayed.counters()
    assert counts["requests"] == 1
    assert is_sound(counts)
    real: dict[str, float] = {}
    for steps in replayed.requests:
        of_one = counters(steps)
        names = ("steps", "tokens", "requests", "xx", "xy", "yy")
        real |= {f"{name}:{steps.k}": of_one.get(f"{name}:{steps.k}", 0) for name in names}
        real[f"drafted:{steps.k}"] = of_one["drafted"]
        real[f"proposing:{steps.k}"] = sum(drafted > 0 for drafted in steps.per_step_drafted)
    assert {name: count for name, count in counts.items() if name in real} == {
        name: count for name, count in real.items() if count
    }
    largest = counters(replayed.requests[-1])
    assert positions(counts) == positions(largest)
    assert set(counts) - set(real) - {"requests"} == {
        name for name in largest if name.startswith(("reached", "proposed", "accepted:"))
    }
    assert [cluster.k for cluster in clusters(counts)] == ([*range(1, max_k + 1)] if len(text[1]) > 1 else [])


def test_of_equal_endings_the_earliest_is_continued() -> None:
    """After a b, what followed the first a b: c, though d followed the second."""
    prompt = [1, 2, 3, 9, 1, 2, 4, 9, 1]
    (steps,) = replay(prompt, [2, 3, 9, 7], Lookup(2, 2), 1, max_model_len=AMPLE).requests
    assert (steps.per_step_drafted, steps.per_step_accepted) == ([1, 1], [1, 0])


def test_the_longest_ending_wins_over_the_earliest() -> None:
    """After 5 a b, what followed 5 a b, though a b alone came before."""
    prompt = [1, 2, 3, 9, 5, 1, 2, 4, 8, 5, 1]
    (steps,) = replay(prompt, [2, 4, 0], Lookup(2, 5), 1, max_model_len=AMPLE).requests
    assert (steps.per_step_drafted, steps.per_step_accepted) == ([1], [1])


def test_a_run_copies_itself() -> None:
    """An occurrence may overlap the ending it is found for; the draft ends where the text does."""
    (*_, steps) = replay([7], [7] * 10, Lookup(1, 3), 8, max_model_len=AMPLE).requests
    assert steps == RequestSteps(8, [1, 1, 3, 0], [1, 1, 3, 0])


def test_one_k_at_a_time_is_all_of_them() -> None:
    """For callers that pause in between."""
    prompt, answer = [1, 2, 3] * 5, [1, 2, 3] * 5
    each = replay_each(prompt, answer, LOOKUP, 8, max_model_len=AMPLE)
    assert tuple(each) == replay(prompt, answer, LOOKUP, 8, max_model_len=AMPLE).requests


@pytest.mark.parametrize(("answer", "steps"), [([], 0), ([5], 0), ([5, 6], 1)])
def test_answers_without_decode_steps_count_none(answer: list[int], steps: int) -> None:
    """The first token is the prefill's."""
    replayed = replay([1, 2, 1, 2], answer, LOOKUP, 3, max_model_len=AMPLE)
    assert [request.steps for request in replayed.requests] == [steps] * 3
    assert ("steps:1" in replayed.counters()) is bool(steps)


@pytest.mark.parametrize(
    ("lookup", "max_k"),
    [(Lookup(0, 3), 4), (Lookup(3, 2), 4), (LOOKUP, 0), (LOOKUP, MAX_POSITIONS + 1)],
)
def test_settings_no_engine_has_are_errors(lookup: Lookup, max_k: int) -> None:
    """They are said at once, not when the first k is asked for."""
    with pytest.raises(ValueError, match=r"lookup|max_k"):
        replay_each([1], [1, 2], lookup, max_k, max_model_len=AMPLE)
