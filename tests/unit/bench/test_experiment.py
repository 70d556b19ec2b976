"""Sides on one workload: what is common to them, what is reported, and what the router shows."""

from dataclasses import replace

import pytest

from bench.simulate.experiment import ADAPTIVE, ORACLE, all_sides, compare, play
from bench.simulate.measures import EXPLORATION
from bench.simulate.report import claims, to_json
from bench.simulate.router import policy
from bench.simulate.scenario import Scenario
from bench.simulate.scenarios import SCENARIOS
from bench.simulate.truth import batch_table, task_loads, true_estimate
from bench.simulate.workload import draw
from policies.groups import Exploration

pytestmark = pytest.mark.unit

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def small(name: str, requests: int = 300) -> Scenario:
    return replace(BY_NAME[name], requests=requests)


def test_json_has_the_contract_s_shape() -> None:
    """`{"scenarios": [{name, seed, policies: {<name>: {mean_completion_s, p95_completion_s, route_share}}}]}`."""
    comparison = compare(small("steady-copying", 120), 3, sides=["adaptive", "always_vanilla", "batch_table"])
    (entry,) = to_json([comparison])["scenarios"]
    assert (entry["name"], entry["seed"]) == ("steady-copying", 3)
    assert list(entry["policies"]) == ["adaptive", "always_vanilla", "batch_table"]
    for figures in entry["policies"].values():
        assert 0 < figures["mean_completion_s"] < figures["p95_completion_s"]
        assert sum(figures["route_share"].values()) == pytest.approx(1.0)
    assert entry["policies"]["always_vanilla"]["route_share"] == {"speculative": 0.0, "vanilla": 1.0}


@pytest.mark.parametrize("name", BY_NAME)
def test_every_scenario_plays_on_every_side(name: str) -> None:
    """All sides of all scenarios serve the whole workload, and the router's reasons add up."""
    scenario = small(name, 60)
    comparison = compare(scenario, 0, sides=all_sides(scenario))
    for played in comparison.sides.values():
        assert sum(played.measures.reasons.values()) == pytest.approx(1.0)
    assert comparison.sides[ORACLE].measures.exploration_share == 0
    assert claims([comparison])


def test_adaptive_learns_what_the_oracle_knows() -> None:
    """With a copying drafter under light load, 600 requests bring it within 5 % of the oracle and of k = 8."""
    scenario = small("steady-copying", 600)
    sides = [ADAPTIVE, ORACLE, "always_speculative_k8", "always_vanilla"]
    sides_played = compare(scenario, 0, sides=sides).sides
    figures = {side: sides_played[side].measures.mean_completion_s for side in sides}
    assert figures[ADAPTIVE] < 1.05 * figures[ORACLE]
    assert figures[ADAPTIVE] < 1.05 * figures["always_speculative_k8"]
    assert figures[ADAPTIVE] < 0.9 * figures["always_vanilla"]


def test_exploration_stays_within_its_share() -> None:
    """Counted over everything, learning included."""
    scenario = small("steady-model", 600)
    run = play(scenario, ADAPTIVE, draw(scenario.traffic, 600, 0), 0)
    assert run.measures.reasons.get(EXPLORATION, 0.0) <= Exploration().max_share


def test_the_watched_task_is_followed_beside_the_oracle() -> None:
    """Every request of the drifting task has a point, with its true acceptance and the oracle's arm."""
    scenario = small("drift", 400)
    workload = draw(scenario.traffic, 400, 0)
    points = play(scenario, ADAPTIVE, workload, 0).watched
    assert len(points) == sum(request.task == "code" for request in workload)
    assert all(point.true_alpha is not None and 0.6 < point.true_alpha < 0.8 for point in points[:100])
    assert all(0 <= point.oracle_k <= scenario.max_k for point in points)


def test_runs_repeat_exactly() -> None:
    """The router's own chance comes from the seed too."""
    scenario = small("bursts", 150)
    first, again = (compare(scenario, 5, sides=[ADAPTIVE]).to_json() for _ in range(2))
    assert first == again


def test_the_table_shrinks_k_as_batches_grow() -> None:
    """The table that vLLM takes, from the true surface: long drafts alone, none in a full batch."""
    scenario = BY_NAME["steady-model"]
    table = batch_table(scenario.traffic, scenario.machine, scenario.max_k, drafts_by_model=True)
    assert len(table) == scenario.machine.slots + 1
    assert table[1] >= 2
    assert table[-1] == 0
    assert sorted(table, reverse=True) == list(table)


def test_the_oracle_knows_tenants_apart() -> None:
    """A tenant with texts of its own has an acceptance of its own."""
    scenario = BY_NAME["noisy-tenant"]
    loads = task_loads(scenario.traffic)
    alphas = {
        tenant: true_estimate(loads[tenant, "code"], 0.0, max_k=7, reference_k=4).alpha
        for tenant in ("acme", "noisy")
    }
    assert alphas["noisy"] < 0.4 < alphas["acme"]


def test_policies_differ_from_the_shipped_ones_in_mode_band_and_objective_only() -> None:
    """What is compared is what ships."""
    spec = policy(BY_NAME["steady-model"], "adaptive").spec
    assert spec.exploration == Exploration()
    assert spec.mode == "adaptive"
    assert spec.objective.tpot == pytest.approx(0.05)
