"""The router's own beliefs: its machinery in `policies`, fed as the service feeds it.

Outcomes, replays of answers for drafters that copy, passes of the engines, drift. Mirrors router/learning.py,
router/costs.py, router/expectations.py and router/drifting.py, without their I/O.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from bench.simulate.beliefs import Beliefs, PassCost
from bench.simulate.engine import Job
from bench.simulate.fleet import EngineSpec
from bench.simulate.scenario import Scenario
from bench.simulate.workload import Request
from policies.acceptance import Estimate
from policies.cells import CellKey, Origin
from policies.cost import (
    Fit,
    OutputLengths,
    PromptLengths,
    ServiceTimes,
    StepLoad,
    StepMoments,
    StepRecorder,
    StepTime,
    fit,
    seed,
)
from policies.decide import Work
from policies.drift import DriftEvent, DriftMonitor, forget_factor
from policies.evidence import RequestSteps
from policies.learner import Learner
from policies.memory_evidence import MemoryEvidence
from policies.resolve import EffectivePolicy
from policies.task_beliefs import Drafter

_BYTES_PER_TOKEN: Final = 4
_FIT_FRESH_S: Final = 2.0
"""How often the service asks its replicas for their moments."""
_GUESSED_STEP_S: Final = 0.025
"""A plain step before any was measured: only its shape matters."""
_SHAPE_ERROR: Final = 0.15
_LEAST_ERROR: Final = 0.02
_SHAPE_STEPS: Final = 20.0


class Learned(Beliefs):
    """What a router has learned from nothing but what it saw."""

    def __init__(self, scenario: Scenario, specs: Sequence[EngineSpec]) -> None:
        self._copies = not scenario.drafts_by_model
        self._drafters = {
            spec.profile: Drafter(scenario.method if spec.max_k else "none", spec.max_k) for spec in specs
        }
        self._evidence = MemoryEvidence()
        self._learner = Learner(self._evidence, self._drafters)
        self._drift = DriftMonitor()
        self._outputs, self._prompts, self._services = OutputLengths(), PromptLengths(), ServiceTimes()
        self._costs = Costs(specs, seed(scenario.shape, _GUESSED_STEP_S))
        self.events: list[DriftEvent] = []

    def estimate(self, profile: str, request: Request, policy: EffectivePolicy, now_s: float) -> Estimate:
        """The posterior."""
        return self._learner.estimate(
            profile=profile,
            task=request.task,
            temperature=request.temperature,
            tenant=request.tenant,
            policy=policy,
            now_s=now_s,
        )

    def cost(self, profile: str, load: StepLoad, now_s: float) -> PassCost:  # noqa: ARG002 - one line for all loads
        """The fitted step time."""
        return self._costs.of(profile, now_s)

    def work(self, request: Request, now_s: float) -> Work:
        """By the request's bytes and its task's recent answers."""
        return Work(
            self._prompts.tokens(request.prompt_tokens * _BYTES_PER_TOKEN, now_s),
            self._outputs.expected(request.task, request.tenant, request.max_tokens, now_s),
        )

    def residence_s(self, profile: str, expected_s: float, now_s: float) -> float:
        """By how long requests stayed lately."""
        return self._services.mean_s(profile, expected_s, now_s)

    def finished(self, job: Job, profile: str, policy: EffectivePolicy, now_s: float) -> None:
        """Learn from a request that is done."""
        request, steps = job.request, job.steps()
        cut = request.output_tokens >= request.max_tokens
        self._outputs.observe(request.task, request.tenant, request.output_tokens, cut=cut, now_s=now_s)
        self._prompts.observe(
            request.task, request.prompt_tokens * _BYTES_PER_TOKEN, request.prompt_tokens, 0, now_s
        )
        self._services.observe(profile, job.finished_s - job.placed_s, now_s)
        self._act(self._drift.arrived(request.task, now_s), policy, now_s)
        self._learner.record(profile, _origin(request, policy), steps, now_s)
        if self._copies:
            self._replay(request, policy, now_s)
        elif steps.k > 0:
            self._watch(CellKey(profile, request.task, request.temperature), steps, policy, now_s)

    def passed(self, engine: int, load: StepLoad, seconds: float) -> None:
        """Note a pass."""
        self._costs.passed(engine, load, seconds)

    def _replay(self, request: Request, policy: EffectivePolicy, now_s: float) -> None:
        """The answer at all k, for every drafter that copies: whoever wrote it, its text says."""
        for profile, drafter in self._drafters.items():
            if not drafter.max_k or request.output_tokens < 2:  # noqa: PLR2004 - no step, nothing to learn
                continue
            counters = request.replayed(drafter.max_k)
            self._learner.record_replay(profile, _origin(request, policy), counters, now_s)
            key = CellKey(profile, request.task, request.temperature)
            expected = self._expected(key.of_replays(), policy, now_s)
            events = self._drift.observe_counts(
                profile, request.task, counters, expected, now_s, temperature=request.temperature
            )
            self._act(events, policy, now_s)

    def _watch(self, key: CellKey, steps: RequestSteps, policy: EffectivePolicy, now_s: float) -> None:
        events = self._drift.observe(
            key.profile,
            key.task,
            steps,
            self._expected(key, policy, now_s),
            now_s,
            temperature=key.temperature,
        )
        self._act(events, policy, now_s)

    def _expected(self, key: CellKey, policy: EffectivePolicy, now_s: float) -> Estimate:
        record = self._evidence.get(key)
        counts: Mapping[str, float] = (
            record.decayed_to(now_s, policy.acceptance.half_life) if record is not None else {}
        )
        return self._learner.believed(key.profile, key.task, counts, policy)

    def _act(self, events: Sequence[DriftEvent], policy: EffectivePolicy, now_s: float) -> None:
        """Cut the evidence of the tasks that moved."""
        for event in events:
            self.events.append(event)
            if event.kind not in {"task_fell", "task_rose"}:
                continue
            for key, record in list(self._evidence.items()):
                if key.task == event.task and key.served_profile == event.profile:
                    counts = record.decayed_to(now_s, policy.acceptance.half_life)
                    self._evidence.forget(key, forget_factor(counts.get("requests", 0.0)))


def _origin(request: Request, policy: EffectivePolicy) -> Origin:
    return Origin(request.task, request.temperature, request.tenant, policy.acceptance.half_life)


class Costs:
    """The pools' fitted step times: every engine keeps moments, the router fits their sum now and then."""

    def __init__(self, specs: Sequence[EngineSpec], start: StepTime) -> None:
        self._recorders = [StepRecorder(start) for _ in specs]
        self._engines: dict[str, list[int]] = {}
        for engine, spec in enumerate(specs):
            self._engines.setdefault(spec.profile, []).append(engine)
        self._start = start
        self._fits: dict[str, tuple[float, Fit]] = {}

    def passed(self, engine: int, load: StepLoad, seconds: float) -> None:
        """Note a pass."""
        self._recorders[engine].record(load, seconds)

    def of(self, profile: str, now_s: float) -> PassCost:
        """A pool's step time, at most two seconds old."""
        known = self._fits.get(profile)
        if known is None or now_s - known[0] >= _FIT_FRESH_S:
            total = StepMoments.empty()
            for engine in self._engines[profile]:
                total = total.merged(self._recorders[engine].moments)
            known = self._fits[profile] = (now_s, fit(total, self._start))
        found = known[1]
        shape = _SHAPE_ERROR / math.sqrt(1.0 + found.steps / _SHAPE_STEPS)
        return PassCost(found.step_time, math.hypot(_LEAST_ERROR, shape))
