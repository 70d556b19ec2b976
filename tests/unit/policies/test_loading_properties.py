"""Whatever the text, parse_policy answers with a policy or with problems."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.json_schema import policy_json_schema
from policies.loading import parse_policy
from policies.problems import PolicyError, Problem

pytestmark = pytest.mark.unit

HEAD = "apiVersion: specroute/v1\nkind: RoutingPolicy\nmetadata: {name: test}\nspec: "


def known_words() -> list[str]:
    words: set[str] = set()

    def collect(node: object) -> None:
        if isinstance(node, dict):
            words.update(node.get("properties", {}))
            words.update(word for word in node.get("enum", []) if isinstance(word, str))
            for child in node.values():
                collect(child)

    collect(policy_json_schema())
    return sorted(words)


SYNTAX = st.sampled_from(
    [": ", "- ", "\n", "\n  ", "{", "}", "[", "]", ", ", "&a ", "*a ", "!!str ", "? ", '"', "<<: ", "|", "# "]
)
SCALARS = st.sampled_from(
    ["0.5", "-1", "1:30", "yes", "~", "10m", "5%", "2026-01-01", ".inf", "1e400", "0x1f", "code"]
)
KEYS = st.sampled_from(known_words()) | st.text(max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def problems_of(text: str | bytes) -> tuple[Problem, ...]:
    try:
        parse_policy(text, "p.yaml")
    except PolicyError as error:
        return error.problems or pytest.fail("an error without problems")
    return ()


def parse_or_refuse(text: str | bytes) -> None:
    for problem in problems_of(text):
        assert len(str(problem).splitlines()) == 1
        assert problem.line >= 1
        assert problem.column >= 1


@settings(deadline=None)
@given(st.text() | st.binary())
def test_any_text_is_a_policy_or_has_problems(text: str | bytes) -> None:
    """Arbitrary characters and bytes never raise anything else."""
    parse_or_refuse(text)


@settings(max_examples=300, deadline=None)
@given(st.lists(SYNTAX | SCALARS | st.sampled_from(known_words()), max_size=40).map("".join))
def test_any_yaml_like_text_is_a_policy_or_has_problems(text: str) -> None:
    """Syntax and known words in any order never raise anything else."""
    parse_or_refuse(HEAD + text)
    parse_or_refuse(text)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_any_values_in_known_places_are_a_policy_or_have_problems(spec: dict[str, object]) -> None:
    """Well-formed text with any values never raises anything else."""
    parse_or_refuse(HEAD + json.dumps(spec))
