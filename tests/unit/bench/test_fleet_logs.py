"""Logs of the simulated fleet, replayed: real load, learning and hysteresis, nothing made up."""

from typing import Any

import pytest
from fleet_logs import played, policy_of

from bench.simulate.scenarios import SCENARIOS
from policies.off_policy import DecisionRecord, replay
from policies.resolve import PolicyTable

pytestmark = pytest.mark.unit

ONE_K = {"mode": "fixed", "default": 4}
LOGGING: dict[str, Any] = {
    "k": ONE_K,
    "exploration": {"share": 0.1, "max_share": 0.2},
    "holdout": {"share": 0.15},
    "objective": {"tpot": "200ms"},
}


@pytest.fixture(scope="module")
def log() -> list[DecisionRecord]:
    """Copying drafters under light load, once the router has learned something."""
    (scenario,) = (one for one in SCENARIOS if one.name == "steady-copying")
    return played(scenario, policy_of(**LOGGING), requests=500, seed=1)[100:]


def test_the_policy_that_was_in_force_changes_nothing(log: list[DecisionRecord]) -> None:
    """Crowds, loads, lengths and last choices are all in the log: every decision comes out as it was."""
    found = replay(log, PolicyTable(policy_of(**LOGGING)))
    effect = found.overall.measures["total_s"]
    assert effect.changed < 0.01
    assert found.overall.speculative.change.estimate == pytest.approx(0.0, abs=0.01)
    assert effect.relative.estimate == pytest.approx(0.0, abs=0.01)


def test_plain_decoding_is_found_slower(log: list[DecisionRecord]) -> None:
    """In this scenario it is by 26 %, a part of it by the load it brings, which a replay cannot see."""
    found = replay(log, PolicyTable(policy_of(k=ONE_K, mode="always_vanilla")))
    relative = found.overall.measures["total_s"].relative
    print(f"\nalways vanilla: {relative.estimate:+.1%} ({relative.low:+.1%} to {relative.high:+.1%})")
    assert found.tells
    assert 0.0 < relative.low < relative.estimate < 0.4
    assert found.overall.speculative.logged + found.overall.speculative.change.estimate == pytest.approx(0.0)
