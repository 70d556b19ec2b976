"""Where a policy sends each task on an idle service that knows a calibration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final, NamedTuple

from policies.calibrating.known import Known
from policies.cells import TemperatureBucket
from policies.decide import Context, Decision, Pool, Route, Work, decide
from policies.resolve import resolve
from policies.schema import RoutingPolicy

_NO_CHANCE: Final = (1.0, 1.0, 1.0)
"""Draws that neither hold a request out nor explore."""
_CLOSE: Final = 1.05


class Expected(NamedTuple):
    """Where the recommended policy sends an idle service's request of a task, knowing the calibration.

    Attributes:
        task: The task.
        temperature: Its bucket.
        route: `speculative` or `vanilla`.
        profile: The pool.
        k: Draft tokens per step.
        reason: The decision's.
        alpha: Effective acceptance that was believed; None where no drafts were compared.
        speedup: Time on the best plain arm over that on the drafting one.
        close: Whether drafts that are worth 5 % more, or 5 % less, would take the other route. Moments of a
            machine differ by as much, so a service that starts anew may well decide otherwise. Modes that
            compare no times have no such routes.
    """

    task: str
    temperature: TemperatureBucket
    route: Route
    profile: str
    k: int
    reason: str
    alpha: float | None
    speedup: float | None
    close: bool = False


def expected_arms(policy: RoutingPolicy, known: Known) -> Iterator[Expected]:
    """What the router's own decision is for each task, on an idle service and without chance."""
    learner = known.learner()
    pools = tuple(
        Pool(
            pool.profile,
            pool.max_k,
            known.costs[pool.profile].step_time,
            cost_error=known.cost_errors[pool.profile],
            drafter_is_model=pool.is_model,
            least_asked=pool.least_asked,
            replicas=pool.replicas,
            capacity=pool.capacity,
        )
        for pool in known.pools
    )
    for task, temperature in known.tasks():
        effective = resolve(policy, tenant=known.tenant, task=task)
        estimates = {
            pool.profile: learner.estimate(
                profile=pool.profile,
                task=task,
                temperature=temperature,
                tenant=known.tenant,
                policy=effective,
                now_s=0.0,
            )
            for pool in pools
            if pool.max_k > 0
        }
        context = Context(
            policy=effective,
            pools=pools,
            estimates=estimates,
            draws=_NO_CHANCE,
            work=known.work.get(task, Work()),
        )
        made = decide(context)
        yield Expected(
            task,
            temperature,
            made.route,
            made.profile,
            made.k,
            made.reason.value,
            made.alpha,
            made.expected_speedup,
            _is_close(made, context),
        )


def _is_close(made: Decision, context: Context) -> bool:
    """Whether drafts worth a twentieth more, or less, would take the other route."""
    objective = context.policy.objective
    for factor in (1 / _CLOSE, _CLOSE):
        other = objective.model_copy(update={"min_speedup": objective.min_speedup * factor})
        if decide(replace(context, policy=replace(context.policy, objective=other))).route != made.route:
            return True
    return False


def starting_routes(expected: Iterable[Expected], base: TemperatureBucket) -> dict[str, Route]:
    """The route of each task for a router to start with: that of the `base` temperature, if it was asked."""
    first = sorted(expected, key=lambda one: one.temperature != base)
    return {one.task: one.route for one in reversed(first)}
