"""Pools that grow and shrink: their settings, what replicas are told, and the policy that Ray Serve asks.

Routers tell every replica of a pool what they expect to be asked of it; replicas hand that on to Serve's
controller as a metric of theirs; there the policy turns it into a number of engines. Why that way stands in
docs/decisions/0023-autoscaling.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from policies.scaling import Sizing

if TYPE_CHECKING:  # settings are read before the environment of Ray is there, which its import reads
    from ray.serve.config import AutoscalingContext

DEMAND: Final = "specroute_demand"
"""The metric: requests that the pool should be able to decode at once."""
TOLD_S: Final = 15.0
"""What a router said longer ago is not said any more: routers tell it every few seconds."""
_REPORTED_S: Final = 60.0
"""Serve hands on what replicas report every ten seconds."""


class Autoscaling(BaseModel):
    """How a pool's number of engines follows what is asked of it; see policies/scaling.py."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    min_replicas: int = Field(1, ge=1, description="Fewest engines, whatever is asked.")
    max_replicas: int = Field(ge=1, description="Most engines.")
    target_load: float = Field(
        0.7, gt=0, le=1, description="Part of the engines' slots that should be in use at once."
    )
    headroom: float = Field(
        0.0,
        ge=0,
        le=1,
        description="On pools without a drafter: the part of the other pools' requests that this one has "
        "engines ready for, in case nobody can or may draft.",
    )
    upscale_delay_s: float = Field(
        10.0, ge=0, le=3600, description="How long more must be asked before engines are started."
    )
    downscale_delay_s: float = Field(
        600.0, ge=0, le=86_400, description="How long less must be asked before engines are ended."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Autoscaling:
        if self.min_replicas > self.max_replicas:
            msg = f"min_replicas ({self.min_replicas}) must not be above max_replicas ({self.max_replicas})"
            raise ValueError(msg)
        return self

    def check(self, *, method: str, replicas: int | None) -> None:
        """Raise ValueError where a profile of this method, which says `replicas`, cannot have it."""
        if replicas is not None and replicas != self.min_replicas:
            msg = (
                f"replicas is {replicas}, but autoscaling says how many: leave replicas out, the pool begins "
                f"with min_replicas ({self.min_replicas})"
            )
            raise ValueError(msg)
        if self.headroom and method != "none":
            msg = f"autoscaling.headroom is for pools without a drafter, method is {method}: leave it out"
            raise ValueError(msg)


class Told:
    """What the routers said of late, on one replica."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._demand: dict[str, tuple[float, float]] = {}

    def note(self, router: str, demand: float) -> None:
        """A router expects to have so many requests decoded at once here."""
        self._demand[router] = (demand, self._clock())

    def metrics(self) -> dict[str, float]:
        """The demand of all routers; nothing where none has said any, which is not a demand of zero."""
        now_s = self._clock()
        self._demand = {router: told for router, told in self._demand.items() if now_s - told[1] <= TOLD_S}
        return {DEMAND: sum(demand for demand, _ in self._demand.values())} if self._demand else {}


class DemandPolicy:
    """A pool's number of engines from what its replicas were told, as Ray Serve's controller asks for it."""

    def __init__(self, **sizing: Any) -> None:
        self._sizing = Sizing(**sizing)

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """The number of engines that are wanted, and no state. Serve sees to the delays."""
        demand = reported(context)
        now = context.target_num_replicas
        return (now if demand is None else self._sizing.engines(demand, now)), {}


def reported(context: AutoscalingContext) -> float | None:
    """The demand on a pool; None where nobody knows, as before the first router has told.

    All replicas are told by all routers, so the highest of what they say now is the whole: others have not
    heard of every router yet.
    """
    series = (context.raw_metrics or {}).get(DEMAND, {})
    newest = [points[-1] for points in series.values() if points]
    now_s = context.current_time or 0.0
    return max((point.value for point in newest if now_s - point.timestamp <= _REPORTED_S), default=None)
