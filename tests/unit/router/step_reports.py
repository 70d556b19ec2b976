"""What replicas say of their steps."""

from random import Random
from typing import Any

from fakes import NGRAM

from policies.cost import StepLoad, StepRecorder

PLAIN = StepLoad(requests=1, context=200)


def status(replica: str, step_s: float, count: int = 500, **more: Any) -> dict[str, Any]:
    """What a replica says after so many plain steps."""
    recorder, rng = StepRecorder(NGRAM.step_cost.seed()), Random(1)
    for _ in range(count):
        recorder.record(PLAIN, step_s * rng.gauss(1, 0.02))
    return {
        "replica": replica,
        "running": 0,
        "step_moments": recorder.moments.to_list(),
        "refused_steps": recorder.refused,
        **more,
    }
