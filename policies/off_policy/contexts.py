"""The context of a decision, as the log keeps it, and back again under another policy."""

from __future__ import annotations

import math
from typing import Any, Final

from policies.acceptance import Estimate
from policies.acceptance.estimates import Curves
from policies.cost import StepLoad, StepTime
from policies.decide import Context, Last, Pool, Work
from policies.off_policy.record import LoggedContext, LoggedEstimate, LoggedPool
from policies.resolve import EffectivePolicy

_DIGITS: Final = 9
"""Significant digits of a logged number: more than any clock has, in half the space."""


def logged_context(context: Context) -> dict[str, Any]:
    """The fields of `LoggedContext`, as JSON has them.

    Raises:
        TypeError: A pool's passes are timed by something other than a `StepTime`.
    """
    policy, work, last = context.policy, context.work, context.last
    fields: dict[str, Any] = rounded(
        {
            "pools": [_logged_pool(pool) for pool in context.pools],
            "estimates": {profile: _logged_estimate(found) for profile, found in context.estimates.items()},
            "draws": list(context.draws),
            "prompt_tokens": work.prompt_tokens,
            "output_tokens": work.output_tokens,
            "cached": dict(work.cached) if work.cached else None,
            "last_route": last.route if last else None,
            "last_age_s": _finite(last.age_s) if last else None,
            "recent_requests": _finite(context.recent_requests),
            "wanted_route": context.wanted_route,
            "wanted_k": context.wanted_k,
            "unsupported": context.unsupported,
            "half_life_s": policy.acceptance.half_life,
            "prior_strength": policy.acceptance.prior_strength,
            "prior_alpha": policy.prior_alpha,
        }
    )
    return fields


def context_of(logged: LoggedContext, policy: EffectivePolicy, last: Last | None) -> Context:
    """What a decision under `policy` would have seen, with `last` favoured before."""
    return Context(
        policy=policy,
        pools=tuple(_pool(pool) for pool in logged.pools),
        estimates={
            profile: _estimate(found, policy.k.default) for profile, found in logged.estimates.items()
        },
        draws=logged.draws,
        work=Work(logged.prompt_tokens, logged.output_tokens, logged.cached),
        last=last,
        recent_requests=math.inf if logged.recent_requests is None else logged.recent_requests,
        wanted_route=logged.wanted_route,
        wanted_k=logged.wanted_k,
        unsupported=logged.unsupported,
    )


def last_of(logged: LoggedContext) -> Last | None:
    """What was favoured before the logged decision."""
    if logged.last_route is None:
        return None
    return Last(logged.last_route, math.inf if logged.last_age_s is None else logged.last_age_s)


def rounded(value: Any) -> Any:
    """The value with every float in it cut to the log's significant digits."""
    match value:
        case float():
            return float(f"{value:.{_DIGITS}g}")
        case dict():
            return {key: rounded(part) for key, part in value.items()}
        case list() | tuple():
            return [rounded(part) for part in value]
    return value


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _logged_pool(pool: Pool) -> dict[str, Any]:
    if not isinstance(pool.step_time, StepTime):
        raise TypeError(f"pool {pool.profile!r}: only a StepTime can be logged")
    return {
        "profile": pool.profile,
        "max_k": pool.max_k,
        "step_time": list(pool.step_time),
        "cost_error": pool.cost_error,
        "drafter_is_model": pool.drafter_is_model,
        "least_asked": pool.least_asked,
        "available": pool.available,
        "replicas": pool.replicas,
        "in_flight": pool.in_flight,
        "capacity": pool.capacity,
        "residence_s": pool.residence_s,
        "work": None if pool.work is None else list(pool.work),
        "length": pool.length,
        "cap": pool.cap,
        "crowding": pool.crowding,
        "reading": pool.reading,
        "chunk": pool.chunk,
        "overloaded": pool.overloaded,
    }


def _pool(logged: LoggedPool) -> Pool:
    # Coefficients that a later version adds are not known here; those it lacks are 0.
    values = dict(logged)
    values["step_time"] = StepTime(*logged.step_time[: len(StepTime._fields)])
    values["work"] = None if logged.work is None else StepLoad(*logged.work[: len(StepLoad._fields)])
    return Pool(**values)


def _logged_estimate(found: Estimate) -> dict[str, Any]:
    return {
        "alpha": found.alpha,
        "reference_k": found.reference_k,
        "evidence_steps": found.evidence_steps,
        "lengths": list(found.lengths),
        "deviations": list(found.deviations),
        "drafted": list(found.drafted),
        "proposing": list(found.proposing),
    }


def _estimate(logged: LoggedEstimate, reference_k: int) -> Estimate:
    """The estimate, its rates at another policy's `k.default`, as far as the curves go."""
    largest = len(logged.lengths) - 1
    return Estimate(
        acceptance=(logged.alpha,),
        coverage=(1.0,),
        spread=(0.0,),
        reference_k=min(reference_k, largest),
        evidence_steps=logged.evidence_steps,
        max_k=largest,
        curves=Curves(logged.lengths, logged.deviations, logged.drafted, logged.proposing),
    )
