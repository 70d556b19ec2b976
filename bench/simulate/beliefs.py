"""What a router believes when it decides, and is told afterwards."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from bench.simulate.engine import Job
from bench.simulate.workload import Request
from policies.acceptance import Estimate
from policies.cost import StepLoad, StepTime
from policies.decide import Work
from policies.resolve import EffectivePolicy


class PassCost(NamedTuple):
    """A pool's step time, and the relative error of what many passes take together."""

    step_time: StepTime
    error: float


class Beliefs(Protocol):
    """What a decision reads, and what it is told."""

    def estimate(self, profile: str, request: Request, policy: EffectivePolicy, now_s: float) -> Estimate:
        """Acceptance of such requests on a pool that drafts."""
        ...

    def cost(self, profile: str, load: StepLoad, now_s: float) -> PassCost:
        """Pass times of a pool, where one of its engines works on `load`."""
        ...

    def work(self, request: Request, now_s: float) -> Work:
        """The tokens a request is expected to take."""
        ...

    def residence_s(self, profile: str, expected_s: float, now_s: float) -> float:
        """How long a request stays on an engine of the pool."""
        ...

    def finished(self, job: Job, profile: str, policy: EffectivePolicy, now_s: float) -> None:
        """A request is done."""
        ...

    def passed(self, engine: int, load: StepLoad, seconds: float) -> None:
        """An engine did a pass."""
        ...
