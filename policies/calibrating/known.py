"""What a calibration knows, in the form in which a router learns it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from policies.calibrating.plan import PoolFacts
from policies.cells import CellDelta, CellKey, TemperatureBucket
from policies.cost import Calibrated
from policies.decide import Work
from policies.learner import Drafter, Learner
from policies.memory_evidence import MemoryEvidence

_STEADY: Final = 1e15
"""A half-life in which nothing decays."""


class Known(NamedTuple):
    """What a calibration knows.

    Attributes:
        pools: The pools.
        costs: Their step times.
        cost_errors: The relative error of what many passes take together, by pool.
        cells: Counters of acceptance of the `tenant`.
        tenant: Whose requests they were.
        work: What a request of a task asks for, by task.
    """

    pools: Sequence[PoolFacts]
    costs: Mapping[str, Calibrated]
    cost_errors: Mapping[str, float]
    cells: Mapping[CellKey, Mapping[str, float]]
    tenant: str
    work: Mapping[str, Work]

    def learner(self) -> Learner:
        """Believes what a router does that starts from the calibration."""
        evidence = MemoryEvidence()
        for key, counts in self.cells.items():
            delta = CellDelta(_STEADY, counts, {})
            evidence.record({key._replace(tenant=None): delta}, 0.0)
            evidence.record({key: delta}, 0.0)
        return Learner(evidence, {pool.profile: Drafter(pool.method, pool.max_k) for pool in self.pools})

    def context(self) -> float:
        """Tokens of context, about, half-way through an answer."""
        lengths = [one.prompt_tokens + one.output_tokens / 2 for one in self.work.values()]
        return sum(lengths) / len(lengths) if lengths else 0.0

    def tasks(self) -> list[tuple[str, TemperatureBucket]]:
        """The tasks and temperatures that something is known of."""
        return list(dict.fromkeys((key.task, key.temperature) for key in self.cells))
