"""docs/decision-log.md says of every field what the schema says, and names every setting and filter."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from policies.off_policy import record
from policies.off_policy.record import (
    DecisionRecord,
    LoggedArm,
    LoggedContext,
    LoggedEstimate,
    LoggedPool,
)
from router import decisions
from router.settings import DecisionLogSettings

pytestmark = pytest.mark.unit

DOCUMENT = (Path(__file__).parents[3] / "docs" / "decision-log.md").read_text(encoding="utf-8")
MODELS = (DecisionRecord, LoggedArm, LoggedContext, LoggedPool, LoggedEstimate)


@pytest.mark.parametrize("model", MODELS)
def test_every_field_is_documented(model: type[BaseModel]) -> None:
    """In a table of its own, in the schema's order and words."""
    section = DOCUMENT.partition(f"### {model.__name__}\n")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", section, flags=re.MULTILINE)
    assert rows == [
        (name, " ".join((field.description or "").split())) for name, field in model.model_fields.items()
    ]


def test_every_model_has_a_section() -> None:
    """A part that is added to the record must be documented, too."""
    parts = {
        name for name, value in vars(record).items() if isinstance(value, type) and name.startswith("Logged")
    }
    assert parts | {"DecisionRecord"} == {model.__name__ for model in MODELS}
    assert f"Version {record.VERSION}." in DOCUMENT


def test_settings_and_filters_are_named() -> None:
    """Each in the section that is about it."""
    setting = DOCUMENT.partition("```yaml")[2].partition("```")[0]
    assert re.findall(r"^  (\w+):", setting, flags=re.MULTILINE) == list(DecisionLogSettings.model_fields)
    filters = DOCUMENT.partition("Filters: ")[2].partition("Entries have")[0]
    assert {"since", "limit", *decisions._SAME} <= set(re.findall(r"`(\w+)`", filters))
