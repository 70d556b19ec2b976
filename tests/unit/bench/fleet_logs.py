"""Decision logs of the fleet simulator: engines, learning and load are its own, nothing is made up."""

import json
from collections.abc import Sequence
from typing import Any

from bench.simulate.engine import Engine, Job
from bench.simulate.experiment import VANILLA
from bench.simulate.fleet import EngineSpec, Placement, run
from bench.simulate.learned import Learned
from bench.simulate.router import EPOCH_S, Router
from bench.simulate.scenario import Scenario
from bench.simulate.workload import Request, draw
from policies.decide import Decision
from policies.off_policy import DecisionRecord, logged_context
from policies.schema import RoutingPolicy


def policy_of(**spec: Any) -> RoutingPolicy:
    """A policy of that spec."""
    return RoutingPolicy.model_validate(
        {"apiVersion": "specroute/v1", "kind": "RoutingPolicy", "metadata": {"name": "test"}, "spec": spec}
    )


class Logging(Router):
    """A router that learns, and logs what it decides."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.log: list[DecisionRecord] = []
        self._decisions: dict[int, Decision] = {}

    def place(self, request: Request, now_s: float) -> Placement:
        """Decide as the parent does, and keep the decision."""
        kept: list[Decision] = []
        decide = self.decide

        def keeping(*given: Any) -> Any:
            found = decide(*given)
            kept.append(found[0])
            return found

        self.decide = keeping  # type: ignore[method-assign]
        placement = super().place(request, now_s)
        self.decide = decide  # type: ignore[method-assign]
        self._decisions[request.number] = kept[0]
        return placement

    def finished(self, job: Job, now_s: float) -> None:
        """Log the request."""
        super().finished(job, now_s)
        self.log.append(_record(self._decisions.pop(job.request.number), job, now_s))


def played(
    scenario: Scenario, policy: RoutingPolicy, *, requests: int, seed: int, chance: int = 0
) -> list[DecisionRecord]:
    """The log of a run, in the order of its decisions; `chance` draws other random numbers on the same work."""
    specs = [EngineSpec(scenario.profile, scenario.max_k)] * scenario.speculative
    specs += [EngineSpec(VANILLA, 0)] * (scenario.engines - scenario.speculative)
    routers: list[Logging] = []

    def make(engines: Sequence[Engine]) -> Router:
        beliefs = Learned(scenario, specs)
        routers.append(Logging(engines, specs, policy, beliefs, scenario=scenario, seed=seed + 1000 * chance))
        return routers[0]

    run(
        draw(scenario.traffic, requests, seed),
        specs,
        make,
        machine=scenario.machine,
        drafts_by_model=scenario.drafts_by_model,
        seed=seed,
    )
    return sorted(routers[0].log, key=lambda record: record.decided_at)


def _record(decision: Decision, job: Job, now_s: float) -> DecisionRecord:
    request, context = job.request, decision.context
    assert context is not None
    line = {
        "v": 1, "request_id": str(request.number), "router": "simulated-0", "sample": 1.0,
        "at": EPOCH_S + now_s, "decided_at": EPOCH_S + job.placed_s, "tenant": request.tenant,
        "task": request.task, "task_confidence": 1.0, "temperature": request.temperature, "stream": False,
        "turn": [None, None], "route": decision.route, "profile": decision.profile, "replica": None,
        "k": decision.k, "reason": decision.reason.value, "propensity": decision.propensity,
        "chances": [list(one) for one in decision.chances] or [[decision.profile, decision.k, 1.0]],
        "intended": decision.intended, "policy": "test@1", "alpha": decision.alpha,
        "expected_speedup": decision.expected_speedup, "confidence": decision.confidence,
        "expected_tokens": context.work.output_tokens, "arms": [], "predicted_s": None,
        "result": "completed", "status": 200, "failovers": 0, "ttft_s": None,
        "total_s": job.finished_s - job.placed_s, "queued_s": None,
        "engine_ttft_s": job.first_token_s - job.placed_s, "decode_s": job.finished_s - job.first_token_s,
        "prompt_tokens": request.prompt_tokens, "completion_tokens": request.output_tokens, "steps": None,
        "drafted": None, "accepted": None, "context": logged_context(context),
    }  # fmt: skip
    return DecisionRecord.model_validate_json(json.dumps(line))
