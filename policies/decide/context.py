"""What goes into a decision, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from policies.acceptance import Estimate
from policies.resolve import EffectivePolicy
from policies.speedup import StepCost

Route = Literal["speculative", "vanilla"]


class Reason(StrEnum):
    """Why a request went where it went: the closed set of `X-Specroute-Reason`."""

    ALPHA_ABOVE = "alpha_above"
    """The compared rate is not below enable_above."""
    ALPHA_BELOW = "alpha_below"
    """The compared rate is below disable_below."""
    HYSTERESIS = "hysteresis"
    """The rate is between the two, and the last choice stands."""
    COLD_START = "cold_start"
    """The same comparison, but the task has fewer than min_steps steps: mostly the prior decided."""
    EXPLORATION = "exploration"
    """Chosen at random, to learn."""
    HOLDOUT = "holdout"
    """Kept on vanilla at random, to measure the saving."""
    SHADOW = "shadow"
    """Decided and logged, but served vanilla."""
    MODE = "mode"
    """The policy's mode leaves no choice."""
    OVERRIDE = "override"
    """The request asked for it and the policy allows it."""
    UNSUPPORTED = "unsupported"
    """Speculation cannot serve this request."""
    SATURATED = "saturated"
    """The pool that was preferred is full, another is not."""
    POOL_UNAVAILABLE = "pool_unavailable"
    """No pool that speculates can answer now."""
    FAILOVER = "failover"
    """The pool that was chosen failed before the first token."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool as the decision sees it: `max_k` 0 has no drafter."""

    profile: str
    max_k: int
    step_cost: StepCost
    available: bool = True
    in_flight: int = 0
    capacity: int = 1

    @property
    def full(self) -> bool:
        """Whether a further request would wait."""
        return self.in_flight >= self.capacity

    @property
    def load(self) -> float:
        """Requests in flight for each one the pool decodes at once."""
        return self.in_flight / max(1, self.capacity)


@dataclass(frozen=True, slots=True)
class Context:
    """All that a decision depends on.

    `estimates` has one entry per speculative pool; a pool without one is never chosen to speculate. `last` is
    the route that evidence favoured for this tenant and task before. `draws` are independent uniform numbers
    in [0, 1): for holdout, for exploring, and for which arm to explore.
    """

    policy: EffectivePolicy
    pools: tuple[Pool, ...]
    estimates: Mapping[str, Estimate]
    draws: tuple[float, float, float]
    last: Route | None = None
    wanted_route: Route | None = None
    wanted_k: int | None = None
    unsupported: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """An arm, why it was chosen, and how likely that was.

    `settled` is the route that evidence favours, which hysteresis remembers; chance and outages leave it
    alone. `propensity` is the probability of the arm (profile and k) that was taken, over the context's
    draws. `alpha` and `expected_speedup` are of the speculative arm that was taken or, on vanilla, compared.
    `intended` names the arm that shadow mode, a full pool or one that is away kept the request from.
    """

    profile: str
    k: int
    reason: Reason
    settled: Route | None = None
    propensity: float = 1.0
    alpha: float | None = None
    expected_speedup: float | None = None
    intended: tuple[str, int] | None = None

    @property
    def route(self) -> Route:
        """What the request will experience."""
        return "speculative" if self.k > 0 else "vanilla"


class NoPoolError(Exception):
    """No pool that could answer the request is available."""
