"""Scenarios, seeds and sides, played through one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.simulate.engine import Engine
from bench.simulate.fleet import EngineSpec, Run, Side, run
from bench.simulate.measures import Measures, measured
from bench.simulate.router import Router, learning_router, oracle_router
from bench.simulate.scenario import Scenario
from bench.simulate.static import Static
from bench.simulate.truth import batch_table
from bench.simulate.watched import Watched
from bench.simulate.workload import Request, draw

VANILLA: Final = "vanilla"
ADAPTIVE: Final = "adaptive"
THRESHOLD: Final = "threshold"
ORACLE: Final = "oracle"
BATCH_TABLE: Final = "batch_table"
ALWAYS_VANILLA: Final = "always_vanilla"
_ALWAYS_SPECULATIVE: Final = "always_speculative_k"


@dataclass(frozen=True, slots=True)
class Played:
    """One side's run. `watched` has the decisions on the scenario's watched task, where the side decides."""

    measures: Measures
    watched: Sequence[Watched] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        over_time = [point._asdict() for point in self.watched]
        return self.measures.to_json() | ({"arms_over_time": over_time} if over_time else {})


@dataclass(frozen=True, slots=True)
class Comparison:
    """All sides on one workload."""

    scenario: Scenario
    seed: int
    sides: Mapping[str, Played]

    def to_json(self) -> dict[str, Any]:
        """The contract's shape: name, seed, and the figures by policy."""
        return {
            "name": self.scenario.name,
            "seed": self.seed,
            "policies": {name: played.to_json() for name, played in self.sides.items()},
        }


def always_speculative(k: int) -> str:
    """The name of the static side with this k."""
    return f"{_ALWAYS_SPECULATIVE}{k}"


def static_sides(scenario: Scenario) -> list[str]:
    """The sides with one arm for all requests."""
    return [ALWAYS_VANILLA, *map(always_speculative, scenario.static_ks)]


def all_sides(scenario: Scenario) -> list[str]:
    """Every side of a scenario."""
    return [ADAPTIVE, THRESHOLD, *static_sides(scenario), BATCH_TABLE, ORACLE]


def compare(
    scenario: Scenario,
    seed: int,
    *,
    sides: Sequence[str],
    requests: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> Comparison:
    """Play the scenario's workload of this seed on every side."""
    workload = draw(scenario.traffic, requests or scenario.requests, seed)
    played = {}
    for side in sides:
        if progress is not None:
            progress(side)
        played[side] = play(scenario, side, workload, seed)
    return Comparison(scenario, seed, played)


def play(scenario: Scenario, side: str, workload: Sequence[Request], seed: int) -> Played:
    """Play one side.

    Raises:
        KeyError: The scenario has no such side.
    """
    specs, make = _fleet(scenario, side, seed)
    routers: list[Router] = []

    def made(engines: Sequence[Engine]) -> Side:
        chosen = make(engines)
        if isinstance(chosen, Router):
            routers.append(chosen)
        return chosen

    result: Run = run(
        workload,
        specs,
        made,
        machine=scenario.machine,
        drafts_by_model=scenario.drafts_by_model,
        seed=seed,
    )
    measures = measured(result, warmup=scenario.warmup, ttft_s=scenario.ttft_s, tpot_s=scenario.tpot_s)
    return Played(measures, tuple(point for router in routers for point in router.watched))


def _fleet(
    scenario: Scenario, side: str, seed: int
) -> tuple[list[EngineSpec], Callable[[Sequence[Engine]], Side]]:
    """The engines of a side, and who places requests on them."""
    profile, max_k = scenario.profile, scenario.max_k
    if side == ALWAYS_VANILLA:
        return [EngineSpec(VANILLA, 0)] * scenario.engines, lambda engines: Static(engines, 0)
    if side == BATCH_TABLE:
        table = batch_table(
            scenario.traffic, scenario.machine, max_k, drafts_by_model=scenario.drafts_by_model
        )
        specs = [EngineSpec(profile, max_k, table)] * scenario.engines
        return specs, lambda engines: Static(engines, max_k)
    if side in {ADAPTIVE, THRESHOLD, ORACLE}:
        specs = [EngineSpec(profile, max_k)] * scenario.speculative
        specs += [EngineSpec(VANILLA, 0)] * (scenario.engines - scenario.speculative)
        if side == ORACLE:
            return specs, lambda engines: oracle_router(scenario, specs, engines, seed)
        return specs, lambda engines: learning_router(scenario, specs, engines, seed, mode=side)
    k = {always_speculative(k): k for k in scenario.static_ks}[side]
    return [EngineSpec(profile, k)] * scenario.engines, lambda engines: Static(engines, k)
