"""A band for every task and tenant, around the break-even.

It is as wide to both sides as chance may take the comparison of alpha with it: half the interval of alpha,
and what the error of the step times makes of the break-even.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from policies.advice import PLAUSIBLE_ALPHA
from policies.cost import Calibrated
from policies.resolve import explain, resolve
from policies.schema import RoutingPolicy
from policies.speedup import expected_drafted, geometric_length
from policies.suggest.break_even import BreakEven, break_even
from policies.suggest.evidence import Evidence

MAX_HALF_WIDTH: Final = 0.15
"""A band wider than this to either side says nothing."""
MIN_HALF_WIDTH: Final = 0.02

_SAME: Final = 0.011
"""Values as near as this are left as they are."""

_PAYS: Final = "speculation pays"
_LOSES: Final = "speculation does not pay"

Status = Literal["suggested", "in place", "too little evidence"]


class Suggestion(NamedTuple):
    """A band for one task, or for one task of a tenant, and why.

    Attributes:
        task: The task.
        tenant: None for everybody's requests of the task.
        status: Whether a change is suggested; `note` says why, or why not.
        metric: What the band is about, as the policy says.
        enable_above: Upper value; None without enough evidence.
        disable_below: Lower value; None without enough evidence.
        current: The two values that hold now.
        profile: The pool that speculates.
        k: Draft tokens per step that the step times are for.
        alpha: The task's effective acceptance on that pool, with its `interval` of 90 % and the `steps` of
            drafts behind it; `rate` is what the policy's metric makes of it.
        break_even: The acceptance, by the same metric, at which speculation pays.
        plain_ms: A plain step of the fastest pool.
        speculative_ms: A step with drafts.
        speedup: What speculation is worth at alpha: 1.3 is 1.3 times as many tokens a second.
    """

    task: str
    tenant: str | None
    status: Status
    note: str
    metric: str
    current: tuple[float, float]
    enable_above: float | None = None
    disable_below: float | None = None
    profile: str | None = None
    k: int | None = None
    alpha: float | None = None
    interval: tuple[float, float] | None = None
    rate: float | None = None
    steps: float = 0.0
    break_even: float | None = None
    plain_ms: float | None = None
    speculative_ms: float | None = None
    speedup: float | None = None


def suggest(
    policy: RoutingPolicy,
    evidence: Sequence[Evidence],
    costs: Mapping[str, Calibrated],
    *,
    requests: float = 1.0,
    context: float = 0.0,
) -> list[Suggestion]:
    """A suggestion for every task there is evidence of, and for the tenants that the policy names.

    Args:
        policy: The policy in force.
        evidence: What is known of acceptance.
        costs: What is known of step times, by profile.
        requests: How many requests an engine decodes at once; the more, the dearer drafts are.
        context: Tokens of context of each of them.
    """
    groups: dict[tuple[str, str | None], list[Evidence]] = {}
    for row in evidence:
        if row.task in policy.spec.known_tasks and (row.tenant is None or row.tenant in policy.spec.tenants):
            groups.setdefault((row.task, row.tenant), []).append(row)
    load = _Load(requests, context, {row.profile: row.least_asked for row in evidence})
    order = {task: rank for rank, task in enumerate(policy.spec.known_tasks)}
    found: dict[tuple[str, str | None], Suggestion] = {}
    for key in sorted(groups, key=lambda key: (key[1] is not None, key[1] or "", order[key[0]])):
        made = _Maker(policy, *key, costs, load).suggestion(groups[key])
        found[key] = made if key[1] is None else _beside(policy, made, found.get((key[0], None)))
    return list(found.values())


class _Load(NamedTuple):
    """What step times are told for, as `break_even` takes it."""

    requests: float
    context: float
    asked: Mapping[str, int]


class _Maker:
    def __init__(
        self,
        policy: RoutingPolicy,
        task: str,
        tenant: str | None,
        costs: Mapping[str, Calibrated],
        load: _Load,
    ) -> None:
        self._task, self._tenant = task, tenant
        self._effective = resolve(policy, tenant=tenant or "", task=task)
        self._costs = costs
        self._load = load

    def suggestion(self, rows: Sequence[Evidence]) -> Suggestion:
        threshold, k = self._effective.threshold, self._effective.k.default
        current = threshold.enable_above, threshold.disable_below
        nothing = Suggestion(self._task, self._tenant, "too little evidence", "", threshold.metric, current)
        seen = [row for row in rows if row.alpha is not None and row.interval is not None]
        if not seen:
            return nothing._replace(note="no drafts were verified yet")
        priced = [
            (row, found)
            for row in seen
            if (found := break_even(row, self._costs, k=k, **self._load._asdict())) is not None
        ]
        if not priced:
            return nothing._replace(note="the step times of its pool are not measured yet")
        row, found = max(priced, key=lambda pair: pair[1].speedup(pair[0].alpha or 0.0))
        known = nothing._replace(
            profile=row.profile,
            k=k,
            alpha=row.alpha,
            interval=row.interval,
            rate=round(self._metric(row.alpha or 0.0, row), 4),
            steps=row.steps,
            break_even=round(self._metric(found.alpha, row), 4),
            plain_ms=round(found.plain_s * 1000, 3),
            speculative_ms=round(found.speculative_s * 1000, 3),
            speedup=round(found.speedup(row.alpha or 0.0), 3),
        )
        return self._banded(known, row, found)

    def _banded(self, known: Suggestion, row: Evidence, found: BreakEven) -> Suggestion:
        low, high = row.interval or (0.0, 1.0)
        width = math.hypot((high - low) / 2, found.half_width)
        min_steps = self._effective.acceptance.min_steps
        if row.steps < min_steps and not row.replayed_requests:
            return known._replace(note=f"{row.steps:.0f} steps of drafts, min_steps is {min_steps}")
        if width > MAX_HALF_WIDTH:
            return known._replace(note=f"alpha and break-even are known to ± {width:.2f} only")
        width = max(width, MIN_HALF_WIDTH)
        upper = min(self._metric(min(1.0, found.alpha + width), row), PLAUSIBLE_ALPHA)
        lower = min(self._metric(max(0.0, found.alpha - width), row), upper)
        band = round(upper, 2), round(lower, 2)
        same = all(abs(value - now) < _SAME for value, now in zip(band, known.current, strict=True))
        verdict = _PAYS if low > found.alpha else _LOSES if high < found.alpha else "too close to call"
        return known._replace(
            enable_above=band[0],
            disable_below=band[1],
            status="in place" if same else "suggested",
            note="the band is where it should be" if same else verdict,
        )

    def _metric(self, alpha: float, row: Evidence) -> float:
        """The rate that the policy compares, where the effective acceptance is `alpha`."""
        if self._effective.threshold.metric == "alpha":
            return alpha
        k = self._effective.k.default
        drafted = expected_drafted(row.coverage, k)
        return min(1.0, (geometric_length(alpha, k) - 1.0) / drafted) if drafted > 0 else 0.0


def _beside(policy: RoutingPolicy, own: Suggestion, everyones: Suggestion | None) -> Suggestion:
    """A tenant's suggestion, unless the band it inherits will do: it lies right, and chooses right today."""
    if own.status != "suggested" or own.break_even is None or own.rate is None:
        return own
    band = dict(_inherited(policy, own, everyones))
    upper, lower = band["enable_above"], band["disable_below"]
    chooses_wrong = (own.note == _PAYS and own.rate < upper) or (own.note == _LOSES and own.rate >= lower)
    if lower <= own.break_even <= upper and not chooses_wrong:
        return own._replace(status="in place", note="the band it inherits will do")
    return own


def _inherited(
    policy: RoutingPolicy, own: Suggestion, everyones: Suggestion | None
) -> Iterator[tuple[str, float]]:
    """The tenant's band once the suggestion for everyone is taken."""
    layers = {row.path: row.layer for row in explain(policy, own.tenant or "", own.task)}
    changes = everyones is not None and everyones.status == "suggested"
    for key, now in zip(("enable_above", "disable_below"), own.current, strict=True):
        is_own = layers[f"threshold.{key}"].startswith(("tenants.", "segments."))
        yield key, now if is_own or not changes else float(getattr(everyones, key))


def changes(suggestions: Sequence[Suggestion]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """The suggested changes of a policy file: paths of `threshold` mappings, and what to say there."""
    for made in suggestions:
        if made.status == "suggested":
            owner = () if made.tenant is None else ("tenants", made.tenant)
            band = {"enable_above": made.enable_above, "disable_below": made.disable_below}
            yield ("spec", *owner, "tasks", made.task, "threshold"), band
