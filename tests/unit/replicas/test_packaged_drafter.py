"""What a profile's `draft_model` stands for."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from replicas import drafting
from replicas.profiles import ModelSpec, Profile, engine_arguments

pytestmark = pytest.mark.unit

EAGLE = {"name": "eagle3", "method": "eagle3", "k": 3, "draft_model": "embedded"}


def test_embedded_stands_for_the_packaged_drafter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine gets its folder; that survives the way into another process."""
    (tmp_path / "config.json").write_text("{}", "utf-8")
    monkeypatch.setattr(drafting, "PACKAGED", tmp_path)
    profile = Profile.model_validate_json(Profile.model_validate(EAGLE).model_dump_json())
    arguments = engine_arguments(profile, ModelSpec(), folder="/f", on_cpu=True)
    assert arguments["speculative_config"]["model"] == str(tmp_path)


def test_without_a_packaged_drafter_one_is_told_how_to_make_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, with the name of the setting."""
    monkeypatch.setattr(drafting, "PACKAGED", tmp_path / "none")
    with pytest.raises(ValidationError, match=r"draft_model\n.*make one with `specroute draft train`"):
        Profile.model_validate(EAGLE)


def test_other_names_are_folders() -> None:
    """They stay as they are written."""
    profile = Profile.model_validate(EAGLE | {"draft_model": "runs/drafter/drafter"})
    assert profile.draft_model == "runs/drafter/drafter"
