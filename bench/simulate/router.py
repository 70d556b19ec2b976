"""The router at work in the simulation: the service's walk of a request, with its I/O left out.

The decision is `policies.decide`'s, whoever believes what; see `bench.simulate.beliefs`. Mirrors
router/deciding.py and router/pools.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from bench.simulate.beliefs import Beliefs
from bench.simulate.engine import Engine, Job
from bench.simulate.fleet import EngineSpec, Placement
from bench.simulate.known import Known
from bench.simulate.learned import Learned
from bench.simulate.scenario import Scenario
from bench.simulate.static import least_loaded
from bench.simulate.watched import Watched
from bench.simulate.workload import Request
from policies.cost import StepLoad
from policies.crowds import Crowds
from policies.decide import Context, Decision, Pool, decide
from policies.inflight import InFlight, Part, part_of
from policies.memory import Memory
from policies.resolve import PolicyTable
from policies.schema import RoutingPolicy

EPOCH_S: Final = 1_700_000_000.0
"""When the simulation starts, for what reads calendars."""


class Router:
    """Places requests by `policies.decide`, on the least loaded engine of the chosen pool."""

    def __init__(
        self,
        engines: Sequence[Engine],
        specs: Sequence[EngineSpec],
        policy: RoutingPolicy,
        beliefs: Beliefs,
        *,
        scenario: Scenario,
        seed: int,
        observer: Router | None = None,
    ) -> None:
        self._policies = PolicyTable(policy)
        self._beliefs = beliefs
        self._scenario = scenario
        self._memory = Memory()
        self._crowds = Crowds()
        self._rng = np.random.default_rng((seed, 11))
        self._pools: dict[str, list[Engine]] = {}
        for spec, engine in zip(specs, engines, strict=True):
            self._pools.setdefault(spec.profile, []).append(engine)
        self._max_k = {spec.profile: spec.max_k for spec in specs}
        self._profiles = [spec.profile for spec in specs]
        self._flying = {profile: InFlight() for profile in self._pools}
        self._parts: dict[int, Part] = {}
        self._observer = observer
        self._finished: Counter[int] = Counter()
        """Requests of the watched task that are done, by how often its acceptance had changed before."""
        self.watched: list[Watched] = []

    def place(self, request: Request, now_s: float) -> Placement:
        """Decide for a request that arrives now."""
        decision, context = self.decide(request, now_s, self._flying)
        if self._observer is not None:
            point = self._observer.beside(decision, request, now_s, self._flying)
            if request.task == self._scenario.watched:
                done = self._finished[self._scenario.changes_before(now_s)]
                self.watched.append(point._replace(finished=done))
        part = part_of(decision.score, context.work)
        self._flying[decision.profile].add(part)
        self._parts[request.number] = part
        engine = least_loaded(self._pools[decision.profile])
        return Placement(engine.number, decision.k, str(decision.reason), decision.propensity)

    def decide(
        self, request: Request, now_s: float, flying: Mapping[str, InFlight]
    ) -> tuple[Decision, Context]:
        """The decision on a request, noted, with what it was made by."""
        policy = self._policies.resolve(tenant=request.tenant, task=request.task, now_s=EPOCH_S + now_s)
        work = self._beliefs.work(request, now_s)
        pools = tuple(
            self._pool(profile, flying[profile], work.output_tokens, now_s) for profile in self._pools
        )
        context = Context(
            policy=policy,
            pools=pools,
            estimates={
                pool.profile: self._beliefs.estimate(pool.profile, request, policy, now_s)
                for pool in pools
                if pool.max_k > 0
            },
            draws=(float(self._rng.random()), float(self._rng.random()), float(self._rng.random())),
            work=work,
            last=self._memory.last(request.tenant, request.task, now_s),
            recent_requests=self._memory.arrived(request.task, now_s),
        )
        decision = decide(context)
        if decision.settled is not None:
            self._memory.settle(request.tenant, request.task, decision.settled, now_s)
        if (score := decision.score) is not None:
            estimate, cell = context.estimates.get(score.profile), (request.tenant, request.task)
            self._crowds.sent(score, estimate, work, now_s, cell=cell)
        return decision, context

    def beside(
        self, taken: Decision, request: Request, now_s: float, flying: Mapping[str, InFlight]
    ) -> Watched:
        """What this router would have done in another's place."""
        own, context = self.decide(request, now_s, flying)
        costs = {(score.profile, score.k): score.cost_s for score in own.scores}
        best = costs.get((own.profile, own.k))
        actual = costs.get((taken.profile, taken.k))
        estimate = context.estimates.get(self._scenario.profile)
        return Watched(
            now_s,
            taken.profile,
            taken.k,
            taken.reason == "exploration",
            taken.alpha,
            estimate.alpha if estimate is not None else None,
            own.profile,
            own.k,
            None if best is None or actual is None else actual / best - 1.0,
        )

    def finished(self, job: Job, now_s: float) -> None:
        """Learn from a request that is done."""
        request, profile = job.request, self._profiles[job.engine]
        self._flying[profile].remove(self._parts.pop(request.number))
        if request.task == self._scenario.watched:
            self._finished[self._scenario.changes_before(request.arrival_s)] += 1
        policy = self._policies.resolve(tenant=request.tenant, task=request.task, now_s=EPOCH_S + now_s)
        self._beliefs.finished(job, profile, policy, now_s)

    def passed(self, engine: int, load: StepLoad, seconds: float) -> None:
        """Learn from a pass."""
        self._beliefs.passed(engine, load, seconds)

    def _pool(self, profile: str, flying: InFlight, output_tokens: float, now_s: float) -> Pool:
        engines = self._pools[profile]
        load = flying.load()
        cost = self._beliefs.cost(profile, per_engine(load, len(engines)), now_s)
        pool = Pool(
            profile=profile,
            max_k=self._max_k[profile],
            step_time=cost.step_time,
            cost_error=cost.error,
            drafter_is_model=self._scenario.drafts_by_model and self._max_k[profile] > 0,
            replicas=len(engines),
            in_flight=flying.requests,
            capacity=len(engines) * self._scenario.machine.slots,
            work=load,
            length=flying.lengths(),
        )
        self._crowds.refresh(now_s)
        pool = pool._replace(**self._crowds.met(pool, now_s)._asdict())
        if not pool.full:
            return pool
        crowd = StepLoad(requests=pool.capacity / pool.replicas)
        expected_s = output_tokens * pool.step_time.seconds(crowd)
        return pool._replace(residence_s=self._beliefs.residence_s(profile, expected_s, now_s))


def per_engine(load: StepLoad, engines: int) -> StepLoad:
    """What one of several engines works on."""
    return load._replace(
        requests=load.requests / engines,
        verifying=1.0 - (1.0 - min(1.0, load.verifying)) ** (1.0 / engines),
        drafted=load.drafted / engines,
        context=load.context / engines,
    )


def learning_router(
    scenario: Scenario, specs: Sequence[EngineSpec], engines: Sequence[Engine], seed: int, *, mode: str
) -> Router:
    """A router that starts knowing nothing. In mode adaptive the oracle looks on, if a task is watched."""
    observer = None
    if mode == "adaptive" and scenario.watched is not None:
        observer = oracle_router(scenario, specs, engines, seed)
    return Router(
        engines,
        specs,
        policy(scenario, mode),
        Learned(scenario, specs),
        scenario=scenario,
        seed=seed,
        observer=observer,
    )


def oracle_router(
    scenario: Scenario, specs: Sequence[EngineSpec], engines: Sequence[Engine], seed: int
) -> Router:
    """The same rules with the true parameters, hence nothing to explore."""
    rules = policy(scenario, "adaptive", explore=False)
    return Router(engines, specs, rules, Known(scenario, specs), scenario=scenario, seed=seed)


def policy(scenario: Scenario, mode: str, *, explore: bool = True) -> RoutingPolicy:
    """The shipped defaults, with the scenario's objective and the band that fits its drafter.

    The bands are those of the presets `default` (drafters that copy) and `threshold` (models).
    """
    enable, disable = (0.60, 0.50) if scenario.drafts_by_model else (0.30, 0.20)
    spec: dict[str, object] = {
        "mode": mode,
        "threshold": {"enable_above": enable, "disable_below": disable},
        "objective": {
            "ttft": f"{scenario.ttft_s:g}s",
            "tpot": f"{1000 * scenario.tpot_s:g}ms",
            "min_speedup": scenario.min_speedup,
            "confidence": scenario.confidence,
        },
    }
    if not explore:
        spec["exploration"] = {"share": 0.0, "max_share": 0.0}
    return RoutingPolicy.model_validate(
        {
            "apiVersion": "specroute/v1",
            "kind": "RoutingPolicy",
            "metadata": {"name": f"simulate-{mode}"},
            "spec": spec,
        }
    )
