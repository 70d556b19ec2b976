"""What the chat backend's model is told again."""

from __future__ import annotations

import pytest
from chat_backend.conversation import Turn, messages, remembered
from hypothesis import given
from hypothesis import strategies as st

from router.conversations import conversation

pytestmark = pytest.mark.unit

LENGTHS = st.lists(st.integers(1, 60), max_size=60)


def turns(lengths: list[int]) -> list[Turn]:
    return [Turn("q" * (length // 2), "a" * (length - length // 2)) for length in lengths]


@given(LENGTHS, st.integers(1, 300))
def test_the_latest_turns_are_remembered(lengths: list[int], limit: int) -> None:
    """A part of the end, no longer than the limit; all of it where it fits."""
    said = turns(lengths)
    kept = remembered(said, limit)
    assert list(kept) == said[len(said) - len(kept) :]
    assert sum(turn.chars for turn in kept) <= limit
    if sum(lengths) <= limit:
        assert list(kept) == said


@given(LENGTHS, st.integers(120, 300))
def test_what_is_sent_keeps_its_beginning_for_long(lengths: list[int], limit: int) -> None:
    """Its first turn changes once in half a limit of text at most, and never goes back."""
    said = turns(lengths)
    starts = [count - len(remembered(said[:count], limit)) for count in range(len(said) + 1)]
    assert starts == sorted(starts)
    assert len(set(starts)) - 1 <= 2 * sum(lengths) / limit


def test_specroute_recognises_the_next_turn() -> None:
    """What comes before the last answer is the last request, word for word: so affinity finds it."""
    first = messages("Be brief.", [], "Hello")
    second = messages("Be brief.", [Turn("Hello", "Hi, an ans", "stopped")], "And now?")
    before = conversation("acme", {"messages": first})
    assert before.after is not None
    assert conversation("acme", {"messages": second}).before == before.after


def test_without_a_system_prompt_there_is_no_message_of_it() -> None:
    """Some models' templates know no system."""
    assert [message["role"] for message in messages("", [Turn("a", "b")], "c")] == [
        "user",
        "assistant",
        "user",
    ]
