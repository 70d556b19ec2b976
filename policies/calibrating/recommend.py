"""The policy that what was measured recommends, and where it sends each task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from policies.acceptance import Estimate, pooled
from policies.base import CHOOSING_MODES
from policies.calibrating.plan import PoolFacts
from policies.cells import CellDelta, CellKey, TemperatureBucket
from policies.cost import Calibrated
from policies.decide import Context, Pool, Work, decide
from policies.learner import Drafter, Learner
from policies.loading import PolicyError, parse_policy
from policies.memory_evidence import MemoryEvidence
from policies.resolve import resolve
from policies.schema import RoutingPolicy
from policies.suggest import Evidence, changes, suggest
from policies.yaml_edit import with_values

_NO_CHANCE: Final = (1.0, 1.0, 1.0)
"""Draws that neither hold a request out nor explore."""
_CLOSE: Final = 1.05
_STEADY: Final = 1e15
"""A half-life in which nothing decays."""


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
            machine differ by as much, so a service may well decide otherwise.
    """

    task: str
    temperature: TemperatureBucket
    route: str
    profile: str
    k: int
    reason: str
    alpha: float | None
    speedup: float | None
    close: bool = False


class Recommended(NamedTuple):
    """A policy file's text, what was changed in it and why, and where it sends each task."""

    text: str
    changes: tuple[str, ...]
    expected: tuple[Expected, ...]


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


def recommended(text: str, source: str, known: Known) -> Recommended:
    """The policy `text` with bands at the measured break-even, priors as measured, and a mode that chooses.

    What the text says otherwise stays as it is, comments and all. Where bands collide with what the policy
    says elsewhere (a tenant's own band), they are left out.

    Raises:
        PolicyError: The text is no policy.
    """
    policy = parse_policy(text, source)
    edits = [*_with_mode(policy), *_with_priors(policy, known), *_with_bands(policy, known)]
    told: list[str] = []
    for paths, words in edits:
        edited = text
        for path, values in paths:
            edited = with_values(edited, path, values)
        try:
            policy = parse_policy(edited, source)
        except PolicyError as error:
            told.append(f"left out: {words} ({str(error).splitlines()[0]})")
            continue
        if edited != text:
            text = edited
            told.append(words)
    return Recommended(text, tuple(told), tuple(expected_arms(policy, known)))


_Edit = tuple[list[tuple[tuple[str, ...], Mapping[str, Any]]], str]


def _with_mode(policy: RoutingPolicy) -> Iterator[_Edit]:
    if policy.spec.mode not in CHOOSING_MODES:
        yield [(("spec",), {"mode": "adaptive"})], f"mode adaptive instead of {policy.spec.mode}"


def _with_priors(policy: RoutingPolicy, known: Known) -> Iterator[_Edit]:
    """What evidence fades to where a task is quiet for long. One number can stand for one drafter only."""
    drafting = [pool for pool in known.pools if pool.max_k > 0]
    if len(drafting) != 1:
        return
    for row in rows(policy, known):
        if row.alpha is not None and row.task in policy.spec.known_tasks:
            prior = {"prior_alpha": round(row.alpha, 2)}
            yield [(("spec", "tasks", row.task), prior)], f"{row.task}: prior_alpha {prior['prior_alpha']:g}"


def _with_bands(policy: RoutingPolicy, known: Known) -> Iterator[_Edit]:
    for made in suggest(policy, rows(policy, known), known.costs, context=known.context()):
        band = f"{made.enable_above:g} / {made.disable_below:g}" if made.enable_above is not None else ""
        words = f"{made.task}: band {band}, around the break-even {made.break_even}: {made.note}"
        if found := list(changes([made])):
            yield found, words


def rows(policy: RoutingPolicy, known: Known) -> list[Evidence]:
    """What is known of each task on each pool that drafts, over all temperatures."""
    learner, found = known.learner(), []
    for profile, least_asked in [(pool.profile, pool.least_asked) for pool in known.pools if pool.max_k > 0]:
        for task in dict.fromkeys(task for task, _ in known.tasks()):
            own = {
                key: counts
                for key, counts in known.cells.items()
                if (key.served_profile, key.task) == (profile, task)
            }
            replayed = any(key.is_of_replays for key in own)
            total = pooled(counts for key, counts in own.items() if key.is_of_replays == replayed)
            if not total.get("reached:1"):
                continue
            key = CellKey(profile, task, "low")
            name = key.of_replays().profile if replayed else profile
            # On the built-in prior: what an earlier calibration recommended is no evidence.
            effective = replace(resolve(policy, tenant=known.tenant, task=task), prior_alpha=None)
            believed = learner.believed(name, task, total, effective)
            steps = sum(counts.get("steps", 0.0) for key, counts in own.items() if not key.is_of_replays)
            requests = total.get("requests", 0.0) if replayed else 0.0
            row = _row(profile, task, believed, steps, requests)
            found.append(row.model_copy(update={"least_asked": least_asked}))
    return found


def _row(profile: str, task: str, believed: Estimate, steps: float, replayed: float) -> Evidence:
    return Evidence(
        profile=profile,
        task=task,
        tenant=None,
        temperature=None,
        alpha=believed.alpha,
        interval=believed.interval,
        coverage=believed.coverage,
        steps=steps,
        replayed_requests=replayed,
    )


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
            any(decide(one).route != made.route for one in _had_drafts_been_worth_other(context)),
        )


def _had_drafts_been_worth_other(context: Context) -> Iterator[Context]:
    """The same request where a twentieth less, or more, of a speedup is asked for."""
    objective = context.policy.objective
    for factor in (1 / _CLOSE, _CLOSE):
        other = objective.model_copy(update={"min_speedup": objective.min_speedup * factor})
        yield replace(context, policy=replace(context.policy, objective=other))
