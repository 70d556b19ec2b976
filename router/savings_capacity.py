"""The capacity statement of a running router: its pools' passes, and what drafts are worth to its traffic."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from policies.savings import (
    CONFIDENCE,
    Cell,
    Drafts,
    EnginePool,
    Sums,
    Tally,
    capacity,
    capacity_entry,
    mean_work,
    traffic,
)
from router.learning import Learning
from router.policy_source import PolicySource
from router.pools import Pools
from router.requests import ANONYMOUS


class LoadLimit:
    """From which load on plain decoding alone would be faster, as this router believes now."""

    def __init__(
        self, pools: Pools, learning: Learning, policies: PolicySource, clock: Callable[[], float]
    ) -> None:
        self._pools = pools
        self._learning = learning
        self._policies = policies
        self._clock = clock

    def gather(self, cells: Mapping[Cell, Sums]) -> Callable[[], Mapping[str, Any]]:
        """What the statement takes, for traffic as it was counted: its tasks by tokens, its mean request.

        Call it in the event loop, and what it returns, the statement itself, wherever there is time.
        """
        tasks = traffic(cells)
        work = mean_work(tasks)
        pools = [
            EnginePool(
                profile=state.profile.name,
                step_time=state.step_time,
                error=state.cost.mean_error,
                steps=math.inf if state.cost.source == "calibration" else state.cost.steps,
                slots=state.profile.max_num_seqs,
                max_k=min(state.profile.k, self._policies.policy.spec.k.max),
                drafter_is_model=state.profile.drafter_is_model,
                least_asked=state.profile.least_asked,
            )
            for state in self._pools
        ]
        drafts = {pool.profile: self._drafts(pool.profile, tasks) for pool in pools if pool.max_k > 0}

        def statement() -> Mapping[str, Any]:
            found = capacity(pools, drafts, work, confidence=CONFIDENCE)
            return capacity_entry(found, work, confidence=CONFIDENCE)

        return statement

    def _drafts(self, profile: str, tasks: Mapping[str, Tally]) -> list[Drafts]:
        now_s = self._clock()
        return [
            Drafts(
                task,
                tally.output_tokens,
                self._learning.estimate(
                    profile=profile,
                    task=task,
                    temperature="low",
                    tenant=ANONYMOUS,
                    policy=self._policies.resolve(tenant=ANONYMOUS, task=task),
                    now_s=now_s,
                ),
            )
            for task, tally in tasks.items()
        ]
