"""The results of a calibration: one JSON document, of which reports and files are made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, Final, NamedTuple

from policies.calibrating import (
    DomainResult,
    Known,
    Measured,
    Point,
    Recommended,
    SamplingResult,
    Wanted,
    cells,
    contexts_ran,
    domain_results,
    file_entries,
    recommended,
    sampling_results,
    starting_routes,
    surface,
    typical_context,
)
from policies.calibrating.surface import CONTEXTS
from policies.cells import CellKey, temperature_bucket
from policies.cost import Calibrated, acceptance_entry, calibration, parse_calibration
from policies.decide import Work
from router.calibrating.service import Facts
from router.calibrating.words import sampling, warnings
from router.costs import error_of_many

_UNSTEADY: Final = 0.3
"""Relative error of single steps beyond which something else moves them; 0.05 to 0.15 on a quiet machine."""


class Results(NamedTuple):
    """What a calibration found.

    Attributes:
        about: Of which service, with how many prompts and requests.
        domains: By domain and pool that drafts.
        sampling: Other temperatures and top_p.
        points: The break-even surface.
        context: Tokens of context about which most was measured; one of those of the surface.
        policy: The recommended policy.
        file: The content of the calibration file.
        warnings: Sentences.
        notes: Sentences on what sampling changes.
    """

    about: Mapping[str, Any]
    domains: Sequence[DomainResult]
    sampling: Sequence[SamplingResult]
    points: Sequence[Point]
    context: float
    policy: Recommended
    file: Mapping[str, Any]
    warnings: Sequence[str]
    notes: Sequence[str]

    def document(self) -> dict[str, Any]:
        """As JSON has it; the calibration file and the policy's text are files of their own."""
        return {
            **self.about,
            "domains": [_plain(one) for one in self.domains],
            "sampling": [_plain(one) for one in self.sampling],
            "context_tokens": self.context,
            "break_even": [_plain(one) for one in self.points],
            "policy": {
                "changes": list(self.policy.changes),
                "expected": [_plain(one) for one in self.policy.expected],
            },
            "warnings": list(self.warnings),
            "notes": list(self.notes),
        }


def results(
    measured: Sequence[Measured],
    costs: Sequence[Mapping[str, Any]],
    found: Facts,
    wanted: Wanted,
    about: Mapping[str, Any],
) -> Results:
    """Everything that follows from the answers and the step times.

    `costs` are what the service said of its step times, the newest last.

    Raises:
        CalibrationError: The service tells step times in another form.
        PolicyError: The policy in force is none.
    """
    told = measured_costs(costs)
    times = parse_calibration(json.dumps(told), "GET /admin/v1/cost")
    base = wanted.temperatures[0], wanted.top_ps[0]
    reference_ks = {
        pool.profile: min(wanted.reference_k, pool.max_k, wanted.most_k)
        for pool in found.pools
        if pool.max_k > 0
    }
    counted = cells(measured, top_p=base[1])
    domains = domain_results(measured, base=base, reference_ks=reference_ks)
    varied = sampling_results(measured, base=base, reference_ks=reference_ks)
    context = typical_context(measured)
    points = surface(found.pools, times, counted, contexts_ran(measured), {*CONTEXTS, context})
    known = Known(
        pools=[pool for pool in found.pools if pool.profile in times],
        costs=times,
        cost_errors={name: error_of_many(one.relative_error, one.steps) for name, one in times.items()},
        cells=counted,
        tenant=measured[0].tenant if measured else "anonymous",
        work=work_by_task(measured),
    )
    policy = recommended(found.policy, found.policy_name, known)
    return Results(
        about=about,
        domains=domains,
        sampling=varied,
        points=points,
        context=context,
        policy=policy,
        file={
            **file_content(told, points, counted),
            "routes": starting_routes(policy.expected, temperature_bucket(base[0])),
        },
        warnings=[*warnings(domains), *_unmeasured(told), *_unsteady(told)],
        notes=list(sampling(varied)),
    )


def measured_costs(costs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The answer of `GET /admin/v1/cost` with each profile as it was when most of its steps were known.

    A service that was started anew in the middle of a calibration has forgotten the steps before.
    """
    profiles: dict[str, Mapping[str, Any]] = {}
    for told in costs:
        for name, entry in told["profiles"].items():
            if name not in profiles or entry["steps"] >= profiles[name]["steps"]:
                profiles[name] = entry
    newest = costs[-1]
    return calibration(profiles, model=newest["model"], machine=newest["machine"])


def file_content(
    told: Mapping[str, Any], points: Sequence[Point], counted: Mapping[CellKey, Mapping[str, float]]
) -> dict[str, Any]:
    """The calibration file: step times, the surface that follows from them, and acceptance."""
    profiles = {
        name: {**entry, "break_even": file_entries(points, name)} for name, entry in told["profiles"].items()
    }
    return {
        **told,
        "profiles": profiles,
        "acceptance": [acceptance_entry(key, counts) for key, counts in counted.items()],
    }


def work_by_task(measured: Sequence[Measured]) -> dict[str, Work]:
    """The mean lengths of prompts and answers, by task."""
    by_task: dict[str, list[Measured]] = {}
    for one in measured:
        by_task.setdefault(one.task, []).append(one)
    return {
        task: Work(fmean(one.prompt_tokens for one in own), fmean(one.tokens for one in own))
        for task, own in by_task.items()
    }


def costs_of(told: Mapping[str, Any]) -> Mapping[str, Calibrated]:
    """Step times by pool, as the service believes them now."""
    return parse_calibration(json.dumps(told), "GET /admin/v1/cost")


def _unmeasured(told: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: its step times were not measured: the service says they are its {entry['source']}'s"
        for name, entry in told["profiles"].items()
        if entry.get("source", "measured") != "measured"
    ]


def _unsteady(told: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: its steps take {entry['relative_error']:.0%} more or less than expected: does the machine "
        "do other things besides? Break-evens are as unsure; calibrate again when it is quiet"
        for name, entry in told["profiles"].items()
        if entry["relative_error"] > _UNSTEADY
    ]


def _plain(value: Any) -> Any:
    """Named tuples as objects."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(part) for name, part in value._asdict().items()}
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    return value
