"""What goes into a decision, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol

from policies.acceptance import Estimate
from policies.cost import StepLoad
from policies.resolve import EffectivePolicy

Route = Literal["speculative", "vanilla"]


class Reason(StrEnum):
    """Why a request went where it went: the closed set of `X-Specroute-Reason`."""

    GAIN = "gain"
    """Adaptive: speculation is faster by at least min_speedup, with confidence."""
    NO_GAIN = "no_gain"
    """Adaptive: no speculative arm is expected to be faster."""
    UNCERTAIN = "uncertain"
    """Adaptive: speculation is expected to be faster, but not by min_speedup with confidence."""
    OBJECTIVE = "objective"
    """Adaptive: the other route would miss the policy's objective for ttft or tpot."""
    AFFINITY = "affinity"
    """Adaptive: the conversation's prefix cache is there, and worth more than another arm's gain."""
    ALPHA_ABOVE = "alpha_above"
    """Threshold: the compared rate is not below enable_above."""
    ALPHA_BELOW = "alpha_below"
    """Threshold: the compared rate is below disable_below."""
    HYSTERESIS = "hysteresis"
    """Too close to call, or changed a moment ago: the last choice stands."""
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


class PassTimer(Protocol):
    """What tells the duration of a pass: `policies.cost.StepTime`, or in simulations the truth itself."""

    def seconds(self, load: StepLoad) -> float:
        """Expected duration of a pass over `load`."""
        ...


class Pool(NamedTuple):
    """A pool as the decision sees it: `max_k` 0 has no drafter.

    Attributes:
        profile: Its name.
        max_k: The largest k its engines are built for.
        step_time: Seconds of a target pass by what the pass works on.
        cost_error: Relative standard deviation of predicted decode times around measured ones.
        drafter_is_model: Whether drafting itself takes time, by the largest k of the batch, even at k = 0.
        least_asked: Tokens that such a drafter works for in every pass at least: one, which keeps its cache,
            or all `max_k` where they come from one pass whatever is asked for.
        available: Whether anybody answers there.
        replicas: Engines; a request joins one of them.
        in_flight: Requests there, this router's and those others are known to have.
        capacity: Requests its engines decode at once.
        residence_s: How long a request usually stays; None where that is not known.
        work: What the passes of all its engines work on together, in expectation; None where only the number
            of requests is known.
        length: Expected tokens per step, summed over the requests in flight.
        cap: The largest k of any request there, where its crowd is better off with one for all; None leaves
            it to each request. See `policies.crowds`, for `crowding` too.
        crowding: How many times a delay of the pool's passes counts.
        reading: The share of its passes that compute a prompt as well.
        chunk: The prompt tokens of such a pass.
        overloaded: Whether more comes than it can do, so that delays queue instead of multiplying.
    """

    profile: str
    max_k: int
    step_time: PassTimer
    cost_error: float = 0.0
    drafter_is_model: bool = False
    least_asked: int = 1
    available: bool = True
    replicas: int = 1
    in_flight: int = 0
    capacity: int = 1
    residence_s: float | None = None
    work: StepLoad | None = None
    length: float | None = None
    cap: int | None = None
    crowding: float = 1.0
    reading: float = 0.0
    chunk: float = 0.0
    overloaded: bool = False

    @property
    def full(self) -> bool:
        """Whether a further request would wait."""
        return self.in_flight >= self.capacity

    @property
    def drafter_counts_k(self) -> bool:
        """Whether the largest k of a batch is everybody's drafter cost."""
        return self.drafter_is_model and self.least_asked <= 1


@dataclass(frozen=True, slots=True)
class Work:
    """What one request asks for, in tokens, as far as that is known beforehand.

    `cached` names the pools whose prefix cache should hold a part of the prompt, and how much of it: the
    earlier turns of the same conversation.
    """

    prompt_tokens: float = 256.0
    output_tokens: float = 256.0
    cached: Mapping[str, float] | None = None


class Last(NamedTuple):
    """The route that evidence favoured before, and for how long it has."""

    route: Route
    age_s: float = float("inf")


@dataclass(frozen=True, slots=True)
class Context:
    """All that a decision depends on.

    `estimates` has one entry per speculative pool; a pool without one is never chosen to speculate. `last` is
    what was favoured for this tenant and task before. `draws` are independent uniform numbers in [0, 1): for
    holdout, for exploring, and for which arm to explore. `recent_requests` counts this task's, older ones
    weighing less: what is learned is worth more where more follows. Beside a wanted
    route or k, `wanted_profile` narrows the choice to that pool, where the policy allows overrides.
    """

    policy: EffectivePolicy
    pools: tuple[Pool, ...]
    estimates: Mapping[str, Estimate]
    draws: tuple[float, float, float]
    work: Work = Work()
    last: Last | None = None
    recent_requests: float = float("inf")
    wanted_route: Route | None = None
    wanted_k: int | None = None
    wanted_profile: str | None = None
    unsupported: bool = False


class Score(NamedTuple):
    """What one arm is expected to bring this request. Times in seconds.

    Attributes:
        profile: The arm's pool.
        k: Its draft tokens per step; 0 decodes plainly.
        cost_s: What the decision minimises; see `policies.decide.scores`.
        spread: Relative standard deviation of `cost_s`.
        wait_s: In the pool's queue.
        ttft_s: From there to the first token.
        decode_s: From the first token to the last.
        length: E[L_k], tokens per step.
        drafted: Draft tokens per step.
        proposing: Share of the steps that have any.
        meets_objective: Whether the policy's objectives for ttft and tpot are expected to be met.
        measured: Whether the task has shown min_steps steps of drafts there; always true at k = 0.
    """

    profile: str
    k: int
    cost_s: float
    spread: float
    wait_s: float
    ttft_s: float
    decode_s: float
    length: float
    drafted: float
    proposing: float
    meets_objective: bool
    measured: bool


class ArmChance(NamedTuple):
    """The probability that an arm is taken."""

    profile: str
    k: int
    chance: float


@dataclass(frozen=True, slots=True)
class Decision:
    """An arm, why it was chosen, and how likely that was.

    `settled` is the route that evidence favours, which hysteresis remembers; chance and outages leave it
    alone. `propensity` is the probability of the arm (profile and k) that was taken, over the context's
    draws, and `chances` those of all arms that could be (empty: only this one could). `alpha`,
    `expected_speedup` (over the best plain arm) and `confidence` (that it is at least the policy's
    min_speedup) are of the speculative arm that was taken or, on vanilla, compared. `intended` names the arm
    that shadow mode, a full pool or one that is away kept the request from. `score` is the taken arm's,
    `scores` are those of all arms that were compared. `context` is what it was all made from.
    """

    profile: str
    k: int
    reason: Reason
    settled: Route | None = None
    propensity: float = 1.0
    alpha: float | None = None
    expected_speedup: float | None = None
    confidence: float | None = None
    intended: tuple[str, int] | None = None
    score: Score | None = None
    scores: tuple[Score, ...] = ()
    chances: tuple[ArmChance, ...] = ()
    context: Context | None = field(default=None, repr=False, compare=False)

    @property
    def route(self) -> Route:
        """What the request will experience."""
        return "speculative" if self.k > 0 else "vanilla"


class NoPoolError(Exception):
    """No pool that could answer the request is available."""
