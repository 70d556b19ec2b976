"""The decision log's record, version 1: a JSON object a line, enough to explain a decision and to redo it.

It holds no text of any request or answer. Times are in seconds, moments in seconds since 1970.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from policies.decide import Reason, Route

VERSION: Final = 1


class _Logged(BaseModel):
    """A part of the record. Readers pass over keys they do not know: later writers may add some."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", allow_inf_nan=False, use_attribute_docstrings=True, strict=True
    )


class LoggedArm(_Logged):
    """What one arm was expected to bring; see `policies.decide.Score`."""

    profile: str
    """The arm's pool."""
    k: int = Field(ge=0)
    """Its draft tokens per step; 0 decodes plainly."""
    cost_s: float
    """What the decision minimises: the request's own time and what it costs the others, or, in class batch,
    its share of the engine's time."""
    spread: float
    """Relative standard deviation of `cost_s`."""
    wait_s: float
    """Expected wait in the pool's queue."""
    ttft_s: float
    """From there to the first token."""
    decode_s: float
    """From the first token to the last, for `expected_tokens`."""
    length: float
    """Tokens per step."""
    drafted: float
    """Draft tokens per step."""
    proposing: float
    """Share of the steps that have any draft token."""
    meets_objective: bool
    """Whether the policy's objectives for ttft and tpot were expected to be met."""
    measured: bool
    """Whether the task had shown min_steps steps of drafts there; false rests mostly on the prior."""


class LoggedPool(_Logged):
    """A pool at the time of the decision; see `policies.decide.Pool`."""

    profile: str
    """Its name."""
    max_k: int = Field(ge=0)
    """The largest k its engines are built for; 0 has no drafter."""
    step_time: tuple[float, ...] = Field(min_length=1)
    """The coefficients of `policies.cost.StepTime`, in its order."""
    cost_error: float
    """Relative standard deviation of predicted decode times around measured ones."""
    drafter_is_model: bool
    """Whether drafting takes time of its own."""
    least_asked: int = Field(1, ge=0)
    """Tokens such a drafter works for in every pass at least."""
    available: bool
    """Whether anybody answered there."""
    replicas: int = Field(ge=1)
    """Its engines."""
    in_flight: int = Field(ge=0)
    """Requests there."""
    capacity: int = Field(ge=1)
    """Requests its engines decode at once."""
    residence_s: float | None
    """How long a request usually stays; null where that is not known or does not matter."""
    work: tuple[float, ...] | None
    """What its passes work on, a `policies.cost.StepLoad`; null where only requests are counted."""
    length: float | None
    """Tokens per step, summed over the requests in flight."""
    cap: int | None
    """The largest k its crowd is better off with; null leaves it to each request."""
    crowding: float
    """How many times a delay of its passes counts."""
    reading: float
    """The share of its passes that compute a prompt as well."""
    chunk: float = 0.0
    """The prompt tokens of such a pass."""
    overloaded: bool = False
    """Whether more came than it could do."""


class LoggedEstimate(_Logged):
    """What was believed about drafts of one pool for this request; see `policies.acceptance.Estimate`."""

    alpha: float
    """The effective acceptance at `reference_k`."""
    reference_k: int = Field(ge=0)
    """The policy's `k.default`."""
    evidence_steps: float
    """The (decayed) steps of the task that it rests on."""
    lengths: tuple[float, ...] = Field(min_length=1)
    """Tokens per step by k, from 0."""
    deviations: tuple[float, ...]
    """Their standard deviations."""
    drafted: tuple[float, ...]
    """Draft tokens per step by k."""
    proposing: tuple[float, ...]
    """Share of the steps with any draft token, by k."""


class LoggedContext(_Logged):
    """All that the decision depended on, but for the policy; see `policies.decide.Context`."""

    pools: tuple[LoggedPool, ...] = Field(min_length=1)
    """Every pool of the deployment."""
    estimates: dict[str, LoggedEstimate]
    """By profile, for the pools that draft."""
    draws: tuple[float, float, float]
    """The random numbers: for holdout, for exploring, for which arm to explore."""
    prompt_tokens: float
    """Expected tokens of the prompt."""
    output_tokens: float
    """Expected tokens of the answer."""
    cached: dict[str, float] | None
    """Tokens of the prompt that a pool's prefix cache should have held, by profile."""
    last_route: Route | None
    """The route that evidence favoured before for this tenant and task."""
    last_age_s: float | None
    """For how long it had; null for always."""
    recent_requests: float | None
    """Recent requests of the task; null for any number."""
    wanted_route: Route | None
    """The route the request asked for."""
    wanted_k: int | None
    """The k it asked for."""
    unsupported: bool
    """Whether speculation cannot serve the request."""
    half_life_s: float
    """The policy's `acceptance.half_life`, which shaped the evidence."""
    prior_strength: float
    """The policy's `acceptance.prior_strength`, likewise."""
    prior_alpha: float | None
    """The policy's `prior_alpha` for the task, likewise; null is the built-in prior."""


class DecisionRecord(_Logged):
    """One request: who asked, what was decided and why, what was expected, what came of it."""

    v: Literal[1]
    """The version of this schema."""
    request_id: str
    """As in `X-Request-Id`."""
    trace_id: str | None = None
    """Of its trace, where requests are traced."""
    router: str
    """The router that decided: its host, and a number where a host has several."""
    sample: float = Field(gt=0, le=1)
    """The probability that this request was logged: each line stands for 1 / `sample` requests."""
    at: float
    """When the request ended."""
    decided_at: float
    """When it was decided."""
    tenant: str
    """The tenant."""
    task: str
    """The task it was taken for, or was said to be."""
    task_confidence: float
    """How sure the classifier was; 1 where the client said it."""
    temperature: Literal["low", "mid", "high"]
    """The bucket of its sampling temperature."""
    stream: bool
    """Whether the answer was streamed."""
    turn: tuple[str | None, str | None]
    """Names of the conversation before and after this turn: digests with a key that only the router has. What
    one record has after, the next turn's has before. Null without turns."""
    route: Route
    """speculative or vanilla."""
    profile: str
    """The pool that answered."""
    replica: str | None
    """The replica that answered."""
    k: int = Field(ge=0)
    """Draft tokens per step."""
    reason: Reason
    """Why, as in `X-Specroute-Reason`."""
    propensity: float = Field(gt=0, le=1.000001)
    """The probability of this arm (profile and k) at the time."""
    chances: tuple[tuple[str, int, float], ...] = Field(min_length=1)
    """The probability of every arm that could have been taken: profile, k, probability."""
    intended: tuple[str, int] | None
    """The arm that shadow mode, a full pool or one that is away kept the request from."""
    holdout_share: float | None = None
    """The probability with which it was to be held out; 0 where nothing is left to chance, null where an
    older version wrote it."""
    policy: str
    """name@revision of the policy."""
    canary: bool = False
    """Whether the canary's candidate decided it."""
    alpha: float | None
    """The effective acceptance of the speculative arm that was taken or compared."""
    expected_speedup: float | None
    """That arm's over the best plain arm."""
    confidence: float | None
    """The probability that it is at least the policy's min_speedup."""
    expected_tokens: float | None
    """Expected tokens of the answer."""
    arms: tuple[LoggedArm, ...]
    """Every arm that was compared, the best first."""
    predicted_s: float | None
    """The decode time that was predicted, for as many tokens as there were in the end."""
    result: Literal["completed", "refused", "cancelled", "failed"]
    """Answered; answered with the request's own error; given up by the client; given up by the router."""
    status: int
    """The HTTP status; 0 where none was sent."""
    failovers: int = Field(ge=0)
    """How often another replica or pool had to take over; where it did, the decision is the last one."""
    ttft_s: float | None
    """From the router's receipt to the first token, of streamed answers."""
    total_s: float | None
    """From the router's receipt to the end."""
    queued_s: float | None
    """In the engine's queue."""
    engine_ttft_s: float | None
    """From arrival at the engine to the first token."""
    decode_s: float | None
    """From the first token to the last."""
    prompt_tokens: int | None
    """Of the prompt, counted by the engine."""
    completion_tokens: int | None
    """Of the answer."""
    steps: int | None
    """Decode steps; null where they are not completely known, as are the next two."""
    drafted: int | None
    """Draft tokens proposed."""
    accepted: int | None
    """Draft tokens accepted."""
    context: LoggedContext
    """What it was decided from."""
