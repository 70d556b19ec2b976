"""The policies and the schema that are shipped as package data."""

from __future__ import annotations

import importlib.resources
import json

import jsonschema
import pytest
import yaml

from policies import groups, schema
from policies.json_schema import policy_json_schema
from policies.layers import GROUPS
from policies.loading import parse_policy, parse_with_warnings

pytestmark = pytest.mark.unit

PRESETS = importlib.resources.files("policies") / "presets"
NAMES = sorted(entry.name for entry in PRESETS.iterdir() if entry.name.endswith(".yaml"))


def test_the_presets_are_shipped() -> None:
    """Operators find a starting point for each common need."""
    needs = {"default", "threshold", "conservative", "latency-first", "batch", "shadow", "multi-tenant"}
    assert {f"{need}.yaml" for need in needs} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_gives_no_reason_to_warn(name: str) -> None:
    """Operators who start from one learn to take warnings seriously."""
    assert parse_with_warnings((PRESETS / name).read_bytes(), name)[1] == ()


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_says_what_it_is_for_and_where_its_schema_is(name: str) -> None:
    """Editors complete and check it; its head says whom it serves."""
    first, second, *head = (PRESETS / name).read_text("utf-8").splitlines()
    assert first == "# yaml-language-server: $schema=policy.schema.json"
    assert second == "#"
    assert head[0].startswith("# ")


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_valid_and_named_like_its_file(name: str) -> None:
    """Every preset can be served as it is."""
    policy = parse_policy((PRESETS / name).read_bytes(), name)
    assert f"{policy.metadata.name}.yaml" == name


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_matches_the_shipped_schema(name: str) -> None:
    """Editors agree with the loader."""
    shipped = json.loads((PRESETS / "policy.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator(shipped).validate(yaml.safe_load((PRESETS / name).read_text("utf-8")))


@pytest.mark.parametrize("name", ["default.yaml", "threshold.yaml"])
def test_the_default_preset_says_the_defaults(name: str) -> None:
    """What the file shows is what a key left out means, but for what their comments say."""
    spec = parse_policy((PRESETS / name).read_bytes(), name).spec
    defaults = schema.Spec()
    assert (defaults.mode, spec.mode) == ("adaptive", "threshold" if name == "threshold.yaml" else "adaptive")
    spec = spec.model_copy(update={"mode": defaults.mode})
    if name == "default.yaml":
        band = groups.Threshold(enable_above=0.30, disable_below=0.20)
        assert spec.threshold == band
        assert spec.objective == groups.Objective(min_speedup=1.02)
        spec = spec.model_copy(update={"threshold": defaults.threshold, "objective": defaults.objective})
    assert spec.model_copy(update={"tasks": {}}).model_dump() == defaults.model_dump()


def test_the_default_preset_shows_every_key() -> None:
    """Operators learn from it what there is, but for what is rare."""
    shown = yaml.safe_load((PRESETS / "default.yaml").read_text("utf-8"))["spec"]
    assert set(schema.Spec.model_fields) - set(shown) == {"canary"}
    for name, form in GROUPS.items():
        keys = {info.alias or field for field, info in form.model_fields.items()}
        assert set(shown[name]) == keys, name


def test_the_shipped_schema_is_current() -> None:
    """It is policy_json_schema() with an indent of 2 and a final newline."""
    shipped = (PRESETS / "policy.schema.json").read_text("utf-8")
    assert shipped == json.dumps(policy_json_schema(), indent=2) + "\n"


@pytest.mark.parametrize(
    ("whole", "partial"),
    [
        (groups.Threshold, groups.ThresholdOverride),
        (groups.Objective, groups.ObjectiveOverride),
        (groups.DraftLength, groups.DraftLengthOverride),
        (groups.Exploration, groups.ExplorationOverride),
        (groups.Limits, groups.LimitsOverride),
    ],
)
def test_an_override_has_the_keys_of_its_group(
    whole: type[groups.PolicyModel], partial: type[groups.PolicyModel]
) -> None:
    """The partial forms cannot fall behind."""
    assert set(partial.model_fields) == set(whole.model_fields)
    assert all(value is None for value in partial().model_dump().values())
