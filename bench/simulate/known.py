"""The oracle's beliefs: the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.simulate.beliefs import Beliefs, PassCost
from bench.simulate.engine import Job
from bench.simulate.fleet import EngineSpec
from bench.simulate.scenario import Scenario
from bench.simulate.truth import Reading, TrueCost, task_loads, true_estimate
from bench.simulate.workload import Request
from policies.acceptance import Estimate
from policies.cost import StepLoad
from policies.decide import Work
from policies.resolve import EffectivePolicy

_RECENT_PASSES: Final = 200.0


class Known(Beliefs):
    """The truth about a scenario, for its oracle: per task, not per request."""

    def __init__(self, scenario: Scenario, specs: Sequence[EngineSpec]) -> None:
        self._loads = task_loads(scenario.traffic)
        self._max_k = {spec.profile: spec.max_k for spec in specs}
        self._costs = {profile: TrueCost(scenario.machine, max_k) for profile, max_k in self._max_k.items()}
        self._profiles = [spec.profile for spec in specs]
        self._reading = dict.fromkeys(self._max_k, Reading())

    def estimate(self, profile: str, request: Request, policy: EffectivePolicy, now_s: float) -> Estimate:
        """The task's true acceptance now."""
        return true_estimate(
            self._loads[request.tenant, request.task],
            now_s,
            max_k=self._max_k[profile],
            reference_k=policy.k.default,
        )

    def cost(self, profile: str, load: StepLoad, now_s: float) -> PassCost:  # noqa: ARG002 - machines do not drift
        """The true surface around `load`."""
        return PassCost(self._costs[profile].around(load, self._reading[profile]), 0.0)

    def work(self, request: Request, now_s: float) -> Work:  # noqa: ARG002
        """The prompt as it is, and the task's mean answer: nobody knows how long one answer gets."""
        load = self._loads[request.tenant, request.task]
        return Work(request.prompt_tokens, min(load.output.mean, load.max_tokens))

    def residence_s(self, profile: str, expected_s: float, now_s: float) -> float:  # noqa: ARG002
        """As expected."""
        return expected_s

    def finished(self, job: Job, profile: str, policy: EffectivePolicy, now_s: float) -> None:
        """Learns nothing."""

    def passed(self, engine: int, load: StepLoad, seconds: float) -> None:  # noqa: ARG002
        """Sees how many of the passes read prompts lately: that is the traffic's doing, not a parameter."""
        profile = self._profiles[engine]
        before, reads = self._reading[profile], load.prefill > 0
        self._reading[profile] = Reading(
            before.share + (reads - before.share) / _RECENT_PASSES,
            before.tokens + (load.prefill - before.tokens) / _RECENT_PASSES if reads else before.tokens,
        )
