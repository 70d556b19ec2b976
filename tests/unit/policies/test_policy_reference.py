"""docs/policy.md says what the schema says: every key, its default, what it may be; and its examples work."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from policies.json_schema import policy_json_schema
from policies.layers import GROUPS
from policies.loading import parse_policy, parse_with_warnings

pytestmark = pytest.mark.unit

REFERENCE = (Path(__file__).parents[3] / "docs" / "policy.md").read_text("utf-8")
SCHEMA = policy_json_schema()
FREE = {"tasks": "<task>", "segments": "<segment>", "tenants": "<tenant>"}
HEAD = "apiVersion: specroute/v1\nkind: RoutingPolicy\nmetadata: {name: test}\nspec:\n"
CELLS = re.compile(r"^\| `([A-Za-z][\w.<>\[\]]*)` \| (.*?) \|(.*?)\| .+ \|$", re.MULTILINE)
PLACES = re.compile(r"^\| `(spec\.[\w.<>\[\]]+)` \| ((?:`\w+` ?)+) \|$", re.MULTILINE)


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in node:
        return node
    return {**SCHEMA["$defs"][node["$ref"].rpartition("/")[2]], **node}


def described(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for key, child in node.get("properties", {}).items():
        at = f"{path}.{key}" if path else key
        inner = resolved(child)
        yield at, {**inner, "required here": key in node.get("required", ())}
        yield from described(inner, at)
        free = next(iter(inner.get("patternProperties", {}).values()), inner.get("additionalProperties"))
        if isinstance(free, dict):
            yield from described(resolved(free), f"{at}.{FREE[key]}")
        if isinstance(inner.get("items"), dict):
            yield from described(resolved(inner["items"]), f"{at}[]")


ALLOWED = dict(described(SCHEMA))
TOLD = {path: (kind, default.strip()) for path, kind, default in CELLS.findall(REFERENCE)}
SHARED = {place: set(re.findall(r"\w+", keys)) for place, keys in PLACES.findall(REFERENCE)}


def told() -> set[str]:
    """Every path that the reference describes, those of shared groups in every place written out."""
    paths = set(TOLD)
    for place, keys in SHARED.items():
        paths |= {f"{place}.{key}" for key in keys}
        for group in keys & set(GROUPS):
            paths |= {
                f"{place}.{group}.{key.split('.')[2]}" for key in TOLD if key.startswith(f"spec.{group}.")
            }
    return paths


def test_every_key_is_described_and_nothing_else() -> None:
    """In every place where it may stand."""
    assert told() == set(ALLOWED)
    assert len(TOLD) == len(CELLS.findall(REFERENCE))


@pytest.mark.parametrize("path", TOLD)
def test_defaults_are_those_of_the_schema(path: str) -> None:
    """Or the key is required, or its default is told in words."""
    default, node = TOLD[path][1], ALLOWED[path]
    assert (default == "required") == node["required here"]
    if "default" in node and not isinstance(node["default"], dict):
        assert yaml.safe_load(default.strip("`")) == node["default"]
    elif node.get("default"):
        assert not default, "the defaults of a group are told key by key"
    elif "default" not in node:
        assert not default.startswith("`")


@pytest.mark.parametrize("path", TOLD)
def test_what_is_allowed_is_told(path: str) -> None:
    """Every word, and every bound."""
    kind, node = TOLD[path][0], ALLOWED[path]
    words = {*node.get("enum", ()), *resolved(node.get("items", {})).get("enum", ()), node.get("const")} - {
        None
    }
    assert words <= set(re.findall(r"`([^`]+)`", kind))
    bounds = [node[key] for key in node if "inimum" in key or "aximum" in key]
    assert {f"{bound:g}" for bound in bounds} <= set(re.findall(r"[\d.]*\d", kind))


def spec_of(example: str) -> str:
    text = example if example.startswith("spec:") else f"spec: {{{example}}}"
    return HEAD.removesuffix("spec:\n") + text + "\n"


EXAMPLES = re.findall(r"Example: `(.+?)`", REFERENCE)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_are_valid(example: str) -> None:
    """Each can be pasted."""
    parse_policy(spec_of(example), "docs/policy.md")


def test_the_longer_examples_are_valid() -> None:
    """The first is a whole file that gives no reason to warn."""
    whole, part = re.findall(r"^```yaml\n(.+?)^```", REFERENCE, re.MULTILINE | re.DOTALL)
    assert parse_with_warnings(whole, "docs/policy.md")[1] == ()
    parse_policy(HEAD + re.sub(r"^", "  ", part, flags=re.MULTILINE), "docs/policy.md")


def test_every_section_of_settings_has_an_example() -> None:
    """People copy."""
    sections = re.split(r"^## ", REFERENCE, flags=re.MULTILINE)
    settings = [text for text in sections if "| key | type |" in text and not text.startswith("The document")]
    assert all("Example: `" in text or "```yaml" in text or "`{" in text for text in settings)


def test_every_preset_is_listed() -> None:
    """With what it is for."""
    presets = Path(__file__).parents[3] / "policies" / "presets"
    assert {f"../policies/presets/{file.name}" for file in presets.glob("*.yaml")} == set(
        re.findall(r"\((\.\./policies/presets/[\w-]+\.yaml)\)", REFERENCE)
    )


def test_warnings_are_listed_as_they_are_told() -> None:
    """So that people find them."""
    told_by_tests = Path(__file__).with_name("questionable_policies.txt").read_text("utf-8")
    table = REFERENCE.split("## Warnings")[1].split("\n## ")[0]
    for words in re.findall(r"^\| ([^|]+) \| [^|]+ \|$", table, re.MULTILINE)[1:]:
        for part in words.split("…"):
            assert part.strip() in told_by_tests or "API key" in part
