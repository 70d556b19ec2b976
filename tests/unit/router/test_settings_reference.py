"""docs/deployment.md lists every setting of the deployment, as the settings themselves have them."""

from pathlib import Path

import pytest

from router.settings import DeploymentSettings
from router.settings_reference import filled, reference, rows

pytestmark = pytest.mark.unit

PAGE = Path(__file__).parents[3] / "docs" / "deployment.md"


def test_the_page_is_up_to_date() -> None:
    """Run `python -m router.settings_reference docs/deployment.md` after a change."""
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page) == page


def test_every_setting_says_what_it_is() -> None:
    """Those of groups within groups, too."""
    found = {path: said for path, _, said in rows()}
    assert [path for path, said in found.items() if not said or said.startswith(" (")] == []
    assert set(DeploymentSettings.model_fields) <= set(found)
    assert {"profiles[].step_cost.verify", "profiles[].autoscaling.max_replicas", "store.timeout_ms"} <= set(
        found
    )


def test_defaults_and_bounds_are_told() -> None:
    """As they would be written in the file; what has no default is needed."""
    lines = reference().splitlines()
    assert "| `http.max_headers` | `100` | How many headers a request may have. (≥ 20) |" in lines
    assert any(line.startswith("| `profiles[].name` | needed |") for line in lines)
    assert any(
        line.startswith('| `profiles[].dtype` | `"auto"` |') and "`bfloat16`" in line for line in lines
    )


def test_a_page_without_a_place_is_left_alone() -> None:
    """What to put there is said."""
    with pytest.raises(ValueError, match="put <!-- settings -->"):
        filled("Nothing.\n")
