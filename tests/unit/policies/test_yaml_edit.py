"""Edits of a policy's text that leave the rest of it alone."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.yaml_edit import with_values
from policies.yaml_tree import read_tree

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("a: {b: {c: 1, d: 2}} # x\n", "a: {b: {c: 7, d: 2}} # x\n", id="flow"),
        pytest.param("a: {b: {}}\n", "a: {b: {c: 7}}\n", id="empty flow"),
        pytest.param("a: {b: {d: 2, }}\n", "a: {b: {d: 2, c: 7, }}\n", id="flow with a last comma"),
        pytest.param("a: {e: 1}", "a: {e: 1, b: {c: 7}}", id="absent in flow, no newline at the end"),
        pytest.param("a:\n  b:\n    c: 1  # x\n", "a:\n  b:\n    c: 7  # x\n", id="block"),
        pytest.param(
            "a:\n  b:\n    d: 2  # x\n\n# y\nz: 1\n",
            "a:\n  b:\n    d: 2  # x\n    c: 7\n\n# y\nz: 1\n",
            id="new line",
        ),
        pytest.param('{"a": {"e": 1}}', '{"a": {"e": 1, "b": {"c": 7}}}', id="JSON stays JSON"),
        pytest.param("a:\n  e: [1,\n   2]", "a:\n  e: [1,\n   2]\n  b: {c: 7}", id="new last line"),
        pytest.param("a:\r\n  e: 1\r\n", "a:\r\n  e: 1\r\n  b: {c: 7}\r\n", id="Windows"),
        pytest.param(
            "a:\n  e: |\n    x\n    y\nz: 1\n",
            "a:\n  e: |\n    x\n    y\n  b: {c: 7}\nz: 1\n",
            id="block text",
        ),
        pytest.param("a:\n  b:\n    c: {d: 1}\n", "a:\n  b:\n    c: 7\n", id="another kind of value"),
        pytest.param("a:\n  b:\n    'c':  # x: y\n      - d\n", "a:\n  b:\n    'c': 7\n", id="a block"),
    ],
)
def test_only_the_value_changes(before: str, after: str) -> None:
    """Comments, spaces and style stay."""
    assert with_values(before, ("a", "b"), {"c": 7}) == after


def test_words_that_yaml_would_misread_are_quoted() -> None:
    """Keys and values."""
    assert with_values("a: {}\n", ("a",), {"no": "yes", "b": "1:30"}) == "a: {'no': 'yes', b: '1:30'}\n"


def test_what_is_no_mapping_is_not_edited() -> None:
    """There is no place for a key."""
    with pytest.raises(TypeError, match="no mapping"):
        with_values("a: 1\n", ("a",), {"c": 7})


KEYS = st.sampled_from(["a", "b", "c", "no", "two words", "it's", "1"])
TREES = st.recursive(
    st.integers(0, 9) | st.sampled_from(["x", "yes", "a: b", "# no", "two\nlines\n", " é"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def expected(values: Any, path: tuple[str, ...], key: str) -> Any:
    if not path:
        return {**values, key: 7}
    return {**values, path[0]: expected(values.get(path[0], {}), path[1:], key)}


@settings(deadline=None, max_examples=300)
@given(
    values=st.dictionaries(KEYS, TREES, min_size=1, max_size=3),
    path=st.lists(KEYS, max_size=3).map(tuple),
    key=KEYS,
    flow=st.sampled_from([None, False, True]),
    indent=st.sampled_from([2, 3, 6]),
    width=st.sampled_from([10, 200]),
)
def test_the_edited_text_says_the_same_but_for_the_value(
    values: dict[str, Any], path: tuple[str, ...], key: str, **style: Any
) -> None:
    """Whatever style it is in, and every comment is still there."""
    dumped = yaml.safe_dump(
        values,
        default_flow_style=style["flow"],
        indent=style["indent"],
        width=style["width"],
        allow_unicode=True,
    )
    text = f"# before\n{dumped}# after\n"
    try:
        wanted = expected(values, path, key)
    except (TypeError, AttributeError):
        return  # a value on the way is no mapping
    edited = with_values(text, path, {key: 7})
    assert yaml.safe_load(edited) == wanted
    assert edited.startswith("# before\n")
    assert edited.endswith("# after\n")
    assert not read_tree(edited, "p").problems or read_tree(text, "p").problems
