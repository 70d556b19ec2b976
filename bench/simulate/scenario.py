"""What a scenario consists of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bench.simulate.surfaces import Machine
from bench.simulate.workload import Traffic
from policies.cost import StepShape

EAGLE_SHAPE: Final = StepShape(
    verify=0.1, per_token=0.01, per_draft_token=0.15, per_request=0.01, per_prefill_token=0.01
)
"""What an operator would guess of a model drafter."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One situation to compare in.

    `method` is the drafter's, as profiles name it. `static_ks` are the static sides' k, the largest of them
    what the engines allow. `warmup` is the share of the requests, the first ones, that no mean counts:
    learning from nothing is measured by itself. `watched` names the task whose arms are followed over time.
    `ttft_s`, `tpot_s`, `min_speedup` and `confidence` are the policy's objective; where plain and speculative
    decoding share all engines an operator need not guard the one against the other. `shape` is what an
    operator would say of the pool's step cost beforehand, a rough guess on purpose.
    """

    name: str
    about: str
    machine: Machine
    traffic: Traffic
    engines: int
    speculative: int
    method: str = "draft_model"
    static_ks: tuple[int, ...] = (1, 2, 3, 5, 7)
    requests: int = 3000
    warmup: float = 0.2
    watched: str | None = None
    ttft_s: float = 2.0
    tpot_s: float = 0.05
    min_speedup: float = 1.05
    confidence: float = 0.9
    shape: StepShape = EAGLE_SHAPE

    @property
    def profile(self) -> str:
        """The speculative pool's name."""
        return "ngram" if self.method == "ngram" else "draft"

    @property
    def max_k(self) -> int:
        """The largest k the engines allow."""
        return max(self.static_ks)

    @property
    def drafts_by_model(self) -> bool:
        """Whether drafting costs passes of a model."""
        return self.method == "draft_model"

    def changes_before(self, at_s: float) -> int:
        """How often the watched task's acceptance has changed by then."""
        drifts = (drift for load in self.traffic.tasks if load.task == self.watched for drift in load.drifts)
        return sum(from_s <= at_s for from_s, _ in drifts)
