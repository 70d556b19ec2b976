"""The next turn of a conversation finds the one before."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.conversations import Conversation, conversation

pytestmark = pytest.mark.unit


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def answer(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def named(*messages: Any, tenant: str = "acme") -> Conversation:
    return conversation(tenant, {"messages": list(messages)})


def test_a_turn_names_what_the_next_one_looks_for() -> None:
    """Whatever the answer was, and however often."""
    first = named(user("a"))
    second = named(user("a"), answer("b"), user("c"))
    third = named(user("a"), answer("b"), user("c"), answer("d"), user("e"))
    assert first.before is None
    assert second.before == first.after
    assert third.before == second.after


def test_tool_results_belong_to_the_turn() -> None:
    """What follows the last answer may be several messages."""
    first = named(user("a"))
    called = named(user("a"), {"role": "assistant", "content": None}, {"role": "tool", "content": "4"})
    assert called.before == first.after


def test_other_words_other_roles_and_other_tenants_are_other_conversations() -> None:
    """Nothing is found by accident."""
    names = {
        named(user("ab")).after,
        named(user("a"), user("b")).after,
        named({"role": "system", "content": "ab"}).after,
        named(user("ab"), tenant="other").after,
    }
    assert len(names) == 4


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, st.lists(st.fixed_dictionaries({"role": JSON, "content": JSON}) | JSON, max_size=4))
def test_whatever_is_sent_is_named_or_not(odd: Any, messages: Any) -> None:
    """No body breaks it, lone surrogates included; the same body has the same name."""
    assert conversation("acme", {"messages": odd}) == conversation("acme", {"messages": odd})
    assert conversation("acme", {"messages": messages}).after is not None
    assert conversation("acme", {"prompt": odd}) == Conversation()
