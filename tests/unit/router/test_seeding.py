"""A fresh router starts from the acceptance in a calibration file."""

import json
from pathlib import Path

import pytest

from policies.cells import CellDelta, CellKey
from policies.cost import CalibrationError, acceptance_entry, calibration
from router.costs import read_acceptance
from router.seeding import seed
from router.stats import StatsBuffer

pytestmark = pytest.mark.unit

CODE = CellKey("ngram", "code", "low", "anonymous")
COUNTS = {"requests": 3.0, "steps": 30.0, "tokens": 60.0, "reached:1": 30.0, "proposed:1": 20.0}
T0 = 1e9


def test_a_task_without_evidence_starts_from_the_calibration() -> None:
    """Its tenant's cell and its total; the counters decay like any, and lifetime totals have no part."""
    buffer = StatsBuffer()
    assert seed(buffer, {CODE: COUNTS}, half_life_s=600, now_s=T0) == 1
    for key in (CODE, CODE._replace(tenant=None)):
        assert buffer[key].decayed_to(T0 + 600, 600)["steps"] == pytest.approx(15)
        assert buffer[key].lifetime == {}


def test_a_task_with_evidence_of_its_own_is_left_alone() -> None:
    """However old that is: a restart adds nothing twice."""
    buffer = StatsBuffer()
    total = CODE._replace(tenant=None)
    buffer.record({total: CellDelta(600, {"steps": 1.0}, {})}, T0 - 1e6)
    other = CODE._replace(task="qa")
    assert seed(buffer, {CODE: COUNTS, other: COUNTS}, half_life_s=600, now_s=T0) == 1
    assert CODE not in buffer
    assert buffer[other].counters == COUNTS
    assert seed(buffer, {CODE: COUNTS, other: COUNTS}, half_life_s=600, now_s=T0) == 0


def test_tenants_of_a_task_add_up() -> None:
    """And replays have cells of their own."""
    buffer = StatsBuffer()
    beta = CODE._replace(tenant="beta")
    seed(buffer, {CODE: COUNTS, beta: COUNTS, CODE.of_replays(): COUNTS}, half_life_s=600, now_s=T0)
    assert buffer[CODE._replace(tenant=None)].counters["steps"] == 60
    assert buffer[CODE.of_replays()._replace(tenant=None)].counters["steps"] == 30


def test_the_file_is_read(tmp_path: Path) -> None:
    """Files without acceptance, such as answers of `GET /admin/v1/cost`, have none."""
    file = tmp_path / "calibration.json"
    content = calibration({}, model="m", machine="x")
    file.write_text(json.dumps(content))
    assert read_acceptance(file) == {}
    replayed = CODE.of_replays()
    entries = [acceptance_entry(key, COUNTS) for key in (CODE, replayed)]
    file.write_text(json.dumps({**content, "acceptance": entries}))
    assert read_acceptance(file) == {CODE: COUNTS, replayed: COUNTS}
    with pytest.raises(CalibrationError, match="cannot read"):
        read_acceptance(tmp_path / "none.json")
