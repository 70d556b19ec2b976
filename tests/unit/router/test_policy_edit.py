"""Editing spec.mode in a policy's text."""

import difflib
import json
from importlib.resources import files

import pytest
import yaml
from fakes import policy_text
from hypothesis import given
from hypothesis import strategies as st

from policies.loading import parse_policy
from router.policy_edit import EditError, with_mode

pytestmark = pytest.mark.unit

HEAD = "apiVersion: specroute/v1\nkind: RoutingPolicy\nmetadata: {name: x}\n"
PRESETS = sorted(
    preset.read_text("utf-8")
    for preset in files("policies").joinpath("presets").iterdir()
    if preset.name.endswith(".yaml")
)


@pytest.mark.parametrize("text", PRESETS)
def test_in_every_preset_one_line_changes(text: str) -> None:
    """Comments, order and spaces stay; the comment behind the mode stays behind it."""
    edited = with_mode(text, "always_vanilla")
    assert parse_policy(edited, "x").spec.mode == "always_vanilla"
    changed = [line for line in difflib.ndiff(text.splitlines(), edited.splitlines()) if line[0] in "+-"]
    assert len(changed) <= 2
    assert with_mode(edited, parse_policy(text, "x").spec.mode) == text or "mode:" not in text


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("spec:\n  mode: adaptive  # why\n", "spec:\n  mode: shadow  # why\n"),
        ("spec:\n  mode:   'adaptive'\n", "spec:\n  mode:   shadow\n"),
        ('spec: {"mode": "adaptive", k: {max: 4}}\n', 'spec: {"mode": shadow, k: {max: 4}}\n'),
        ("spec: {}\n", "spec: {mode: shadow}\n"),
        ("spec: {k: {max: 4}}", "spec: {k: {max: 4}, mode: shadow}"),
        ("spec:\n  # first\n  k: {max: 4}\n", "spec:\n  # first\n  k: {max: 4}\n  mode: shadow\n"),
        ("spec:\n    k:\n        max: 4\n", "spec:\n    k:\n        max: 4\n    mode: shadow\n"),
        ("spec:\n  mode:\n    adaptive\n", "spec:\n  mode:\n    shadow\n"),
        ("spec:\n  mode: >-\n    adaptive\n  k: {max: 4}\n", "spec:\n  mode: shadow\n  k: {max: 4}\n"),
        (
            "spec:\n  tasks: {qa: {mode: threshold}}\n",
            "spec:\n  tasks: {qa: {mode: threshold}}\n  mode: shadow\n",
        ),
        ("spec:\r\n  mode: adaptive\r\n  k: {max: 4}\r\n", "spec:\r\n  mode: shadow\r\n  k: {max: 4}\r\n"),
        ("spec:\r\n  k: {max: 4}\r\n", "spec:\r\n  k: {max: 4}\r\n  mode: shadow\r\n"),
        ("spec:\n  mode: shadow\n", "spec:\n  mode: shadow\n"),
    ],
)
def test_only_the_value_changes(spec: str, expected: str) -> None:
    """However it is written, in block or flow style, quoted or not, or not there yet."""
    assert with_mode(HEAD + spec, "shadow") == HEAD + expected
    assert with_mode("\ufeff" + HEAD + spec, "shadow") == "\ufeff" + HEAD + expected


@pytest.mark.parametrize("text", ["", "[", "mode: adaptive", "spec: 3", HEAD + "spec:\n  &a mode: *a\n"])
def test_what_is_no_policy_is_left_alone(text: str) -> None:
    """With a line that says so."""
    with pytest.raises(EditError):
        with_mode(text, "shadow")


def test_a_way_of_writing_that_cannot_be_kept_is_refused() -> None:
    """Rather than changing more than was asked for."""
    with pytest.raises(EditError, match=r"spec\.mode: shadow"):
        with_mode(
            HEAD + "spec: { ? k\n  : {max: 4}}\n".replace("{ ? k", "\n  ? k").replace("}}", "}"), "shadow"
        )


@given(
    mode=st.sampled_from(["adaptive", "threshold", "shadow", "always_vanilla", "always_speculative"]),
    indent=st.one_of(st.none(), st.integers(1, 6)),
    name=st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=5),
)
def test_json_is_edited_too(mode: str, indent: int | None, name: str) -> None:
    """With any spaces, and whatever stands beside it; it stays JSON."""
    document = json.loads(policy_text(custom_tasks=[{"name": name}]))
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    edited = with_mode(text, mode)  # type: ignore[arg-type]
    document["spec"]["mode"] = mode
    assert json.loads(edited) == yaml.safe_load(edited) == document


def test_json_without_a_mode_stays_json() -> None:
    """The key that is added is JSON too, in a spec that was empty as well; so is what a file begins with."""
    for spec in ({}, {"k": {"max": 4}}):
        document = json.loads(policy_text()) | {"spec": spec}
        for start in ("", "\ufeff"):
            edited = with_mode(start + json.dumps(document, indent=2), "shadow")
            assert json.loads(edited.removeprefix(start)) == document | {"spec": {**spec, "mode": "shadow"}}
