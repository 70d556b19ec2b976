"""The policy that what was measured recommends, and where it sends each task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from policies.acceptance import Estimate, pooled
from policies.base import CHOOSING_MODES
from policies.calibrating.expected import Expected, expected_arms
from policies.calibrating.known import Known
from policies.cells import CellKey
from policies.loading import PolicyError, parse_policy
from policies.resolve import resolve
from policies.schema import RoutingPolicy
from policies.suggest import Evidence, changes, suggest
from policies.yaml_edit import with_values


class Recommended(NamedTuple):
    """A policy file's text, what was changed in it and why, and where it sends each task."""

    text: str
    changes: tuple[str, ...]
    expected: tuple[Expected, ...]


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
