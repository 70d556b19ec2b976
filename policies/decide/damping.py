"""Damping around whatever decides: choices too close to call, and choices made a moment ago."""

from __future__ import annotations

from typing import Final, NamedTuple

from policies.decide.context import Last, Reason, Route
from policies.resolve import EffectivePolicy

DWELL_S: Final = 5.0
"""For so long after a change a small difference does not change the route again."""


class Verdict(NamedTuple):
    """The route that evidence favours and why; None where it is too close to call."""

    route: Route | None
    reason: Reason


def damped(
    verdict: Verdict, last: Last | None, *, gain: float | None, policy: EffectivePolicy
) -> tuple[Route, Reason]:
    """The verdict with hysteresis and dwell.

    Inside the band the last choice stands, at first vanilla. A choice made less than `DWELL_S` ago stands as
    well while it costs less than the policy's min_speedup: `gain` is the time of vanilla over that of
    speculation, None where they cannot be compared.
    """
    if last is None:
        return verdict.route or "vanilla", verdict.reason
    if verdict.route is None:
        reason = verdict.reason if last.route == "vanilla" else Reason.HYSTERESIS
        return last.route, reason
    if verdict.route == last.route or last.age_s >= DWELL_S or gain is None:
        return verdict.route, verdict.reason
    loss = gain if last.route == "vanilla" else 1.0 / gain
    if loss < policy.objective.min_speedup:
        return last.route, Reason.HYSTERESIS
    return verdict.route, verdict.reason
