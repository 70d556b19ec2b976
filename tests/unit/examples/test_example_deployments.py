"""Deployments to copy are ones that can be served."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from router.settings import parse_settings

pytestmark = pytest.mark.unit

FILE = Path(__file__).parents[3] / "examples" / "drafters.yaml"


def test_several_drafters_are_offered_beside_plain_decoding() -> None:
    """The one that copies and the one that ships, on the cores a machine of two has."""
    (application,) = yaml.safe_load(FILE.read_text("utf-8"))["applications"]
    found = parse_settings(application["args"])
    assert {profile.name: profile.method for profile in found.profiles} == {
        "vanilla": "none",
        "ngram": "ngram",
        "eagle3": "eagle3",
    }
    assert {core for profile in found.profiles for core in profile.cpu_cores or ()} == {0, 1}
