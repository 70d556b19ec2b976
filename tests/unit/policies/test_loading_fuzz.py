"""Broken files of every kind: always problems with positions, never anything else, and an end to all of it."""

from __future__ import annotations

import importlib.resources
import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import yaml_nodes
from policies.loading import parse_policy
from policies.problems import MAX_PROBLEMS, PolicyError, Problem
from policies.yaml_tree import MAX_BYTES, read_tree

pytestmark = pytest.mark.unit

PRESET = (importlib.resources.files("policies") / "presets" / "multi-tenant.yaml").read_bytes()
VALUES: dict[str, Any] = yaml.safe_load(PRESET)
HEAD = "apiVersion: specroute/v1\nkind: RoutingPolicy\nmetadata: {name: test}\nspec:\n"


def problems_of(text: str | bytes) -> tuple[Problem, ...]:
    try:
        parse_policy(text, "p.yaml")
    except PolicyError as error:
        found = error.problems
        assert found
        lines = text.count("\n" if isinstance(text, str) else b"\n") + 1  # type: ignore[arg-type]
        for problem in found:
            assert 1 <= problem.line <= lines + 1
            assert problem.column >= 1
            assert len(str(problem).splitlines()) == 1
        return found
    return ()


FRAGMENTS = st.sampled_from(
    [
        b"&a ",
        b"*a",
        b"<<: *a\n",
        b"!!python/object:os.system ",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"\x00",
        b"\t",
        b"- ",
        b"? ",
        b": ",
        b"{",
        b"}",
        b"[",
        b"'",
        b'"',
        b"|\n",
        b"---\n",
        b"%YAML 9.9\n",
        b"\r",
        b"~",
        b"1e999",
        b"yes",
        b"0x1F",
        b"\xe2\x80\xa8",
    ]
) | st.binary(max_size=4)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(PRESET)), st.integers(0, 30), FRAGMENTS), min_size=1, max_size=4)
)
def test_a_damaged_preset_is_a_policy_or_has_problems(damages: list[tuple[int, int, bytes]]) -> None:
    """Bytes lost, added and changed anywhere."""
    text = PRESET
    for at, lost, added in damages:
        text = text[:at] + added + text[at + lost :]
    problems_of(text)


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner: Any = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return [path, *(place for key, child in inner for place in places(child, (*path, key)))]


WRONG = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=6), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=200, deadline=None)
@given(place=st.sampled_from(places(VALUES)[1:]), wrong=WRONG)
def test_a_wrong_value_in_any_place_is_refused_there_or_taken(
    place: tuple[str | int, ...], wrong: Any
) -> None:
    """Every problem lies in that place, beside it, or is about something that needs it."""
    values = json.loads(json.dumps(VALUES))
    holder = values
    for step in place[:-1]:
        holder = holder[step]
    holder[place[-1]] = wrong
    problems_of(json.dumps(values))


@pytest.mark.parametrize("place", [place for place in places(VALUES)[1:] if isinstance(place[-1], str)])
def test_a_repeated_key_is_refused_in_any_place(place: tuple[str, ...]) -> None:
    """It says where the first stands; nothing else is wrong."""

    def written(value: Any, path: tuple[str | int, ...]) -> str:
        if isinstance(value, dict):
            pairs = [f"{json.dumps(key)}: {written(each, (*path, key))}" for key, each in value.items()]
            repeated = [pair for key, pair in zip(value, pairs, strict=True) if (*path, key) == place]
            return "{" + ", ".join(pairs + repeated) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(written(each, (*path, index)) for index, each in enumerate(value)) + "]"
        return json.dumps(value)

    (problem,) = problems_of(written(VALUES, ()))
    assert (problem.message, problem.hint[:22]) == ("duplicate key", "the first stands at li")


@pytest.mark.parametrize(
    ("head", "unit", "tail"),
    [
        pytest.param("  a: [&a x, ", "*a, ", "x]\n", id="aliases"),
        pytest.param("  k:\n", "    max: 5\n", "", id="duplicate keys"),
        pytest.param("", "  a{}: 1\n", "", id="unknown keys"),
        pytest.param("  tenants:\n", "    a{}: {{kk: 1}}\n", "", id="unknown keys of tenants"),
        pytest.param("  tenants:\n", "    a{}: {{k: {{max: 5, default: 6}}}}\n", "", id="contradictions"),
        pytest.param("  tenants:\n", "    a{}: {{segment: s{}}}\n", "", id="unknown segments"),
        pytest.param("  tasks:\n", "    a{}: {{}}\n", "", id="unknown tasks"),
        pytest.param("  mode: ", "x", "\n", id="a long word"),
        pytest.param("  ", "x", ": 1\n", id="a long key"),
    ],
)
def test_there_is_an_end_to_problems(head: str, unit: str, tail: str) -> None:
    """A file of the largest size is refused with the first of them, and that there are more."""
    room = MAX_BYTES // 4 - len(HEAD) - len(head) - len(tail) - 40
    longest = len(unit.format(0, 0)) + 8
    text = HEAD + head + "".join(unit.format(n, n) for n in range(room // longest)) + tail
    found = problems_of(text)
    assert len(found) <= MAX_PROBLEMS + 1
    assert len(str(PolicyError(found))) < 100_000
    if len(found) > 1:
        assert found[-1].message == "there are more"


@settings(max_examples=100, deadline=None)
@given(
    openings=st.lists(st.sampled_from(["[", "{a: ", "- ", "? ", "a:\n "]), min_size=1, max_size=5),
    depth=st.integers(8, 4000),
)
def test_deep_nesting_is_refused(openings: list[str], depth: int) -> None:
    """In whatever brackets, without going down there."""
    text = "".join((openings * depth)[: depth * len(openings)])
    assert problems_of(f"a: {text}")


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "a",
                "b: ",
                "- ",
                "\n",
                "\n  ",
                "{",
                "}",
                "[",
                "]",
                ", ",
                "'x y'",
                '"\\t"',
                "|\n",
                "# c",
                "1.5",
                "é",
            ]
        ),
        max_size=25,
    ).map("".join)
)
def test_both_readers_agree(text: str) -> None:
    """What libyaml reads, PyYAML reads alike: values, positions, problems."""
    fast, yaml_nodes_fast = [], yaml_nodes._FAST
    for reader in (yaml_nodes_fast, None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(yaml_nodes, "_FAST", reader)
            try:
                tree = read_tree(text, "p")
                fast.append((dict(tree.values), dict(tree.positions), tree.problems))
            except PolicyError as error:
                fast.append(error.problems)
    assert fast[0] == fast[1]
