"""A router starts with the routes of its calibration file."""

import json
from pathlib import Path

import pytest
from fakes import FakePool

from policies.cost import StepTime, calibrated_profile, calibration
from router.composition import compose
from router.settings import DeploymentSettings

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("routes", [{"code": "speculative", "creative": "vanilla"}, {}])
def test_the_files_routes_are_what_a_new_router_remembers(routes: dict[str, str], tmp_path: Path) -> None:
    """For every tenant; of other tasks, and without routes in the file, it remembers nothing."""
    file = tmp_path / "calibration.json"
    profile = calibrated_profile(StepTime(0.02), 0.1, 900)
    file.write_text(json.dumps(calibration({"ngram": profile}, model="m", machine="x") | {"routes": routes}))
    settings = DeploymentSettings.model_validate(
        {
            "profiles": [{"name": "vanilla"}, {"name": "ngram", "method": "ngram", "k": 8}],
            "fake_engines": {"step_ms": 1},
            "calibration": str(file),
        }
    )
    parts = compose(settings, {"vanilla": FakePool(), "ngram": FakePool()})
    memory = parts.decider._expectations.memory
    for task in ("code", "creative", "sql"):
        last = memory.last("anybody", task, 0.0)
        assert (None if last is None else last.route) == routes.get(task)
