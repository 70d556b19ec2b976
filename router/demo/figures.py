"""The figures of the demo's table, from the rows of all its requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from policies.acceptance import pooled
from policies.evidence import RequestSteps, counters, positions
from policies.speedup import acceptance_length, effective_acceptance
from policies.tasks import TASKS
from router.demo.comparison import (
    BaselineKind,
    Pair,
    baseline,
    interval,
    mean_tpot_s,
    pairs,
    ratio,
)
from router.demo.rows import Pass, Row

REFERENCE_K = 4
"""The k that alpha is quoted for: the default policy's `k.default`."""

_BY_CHANCE = frozenset({"exploration", "holdout"})

UNKNOWN_TASK = "unknown"
"""Of requests that all failed before the router said what it took them for."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What the target made of one profile's drafts, counted without a prior; None where nothing was seen."""

    alpha: float | None = None
    coverage_1: float | None = None
    length: float | None = None


@dataclass(frozen=True, slots=True)
class TaskFigures:
    """One line of the table. Shares and `saved` are fractions; None is unknown.

    `requests` are those of the second pass, `failed` of all. A `chosen` share leaves out requests that chance
    sent elsewhere, to explore or to hold out: it is what routing thinks best. `profile` drafted for most of
    the task's requests, in both passes; k and acceptance are of that profile.
    """

    task: str
    requests: int
    failed: int
    first_share: float | None
    second_share: float | None
    first_chosen_share: float | None
    second_chosen_share: float | None
    profile: str | None
    k: float | None
    alpha: float | None
    coverage_1: float | None
    acceptance_length: float | None
    speculative_tpot_s: float | None
    vanilla_tpot_s: float | None
    saved: float | None


@dataclass(frozen=True, slots=True)
class Totals:
    """All tasks together. Ratios are decode time over that of plain decoding."""

    requests: int
    failed: int
    classified_as_intended: int
    classified: int
    first_share: float | None
    second_share: float | None
    first_ratio: float | None
    second_ratio: float | None
    first_interval: tuple[float, float] | None
    second_interval: tuple[float, float] | None
    compared: int
    greedy_pairs: int
    identical_greedy_pairs: int


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything the demo tells at its end."""

    baseline: BaselineKind
    tasks: tuple[TaskFigures, ...]
    totals: Totals


def figures(rows: Sequence[Row], *, greedy: frozenset[str] = frozenset()) -> Figures:
    """The table of `rows`; `greedy` names the prompts whose answers should not depend on the route."""
    tasks = routed_tasks(rows)
    against = baseline(rows)
    first, second = pairs(rows, "first", against, tasks), pairs(rows, "second", against, tasks)
    order = {task: number for number, task in enumerate((*TASKS, UNKNOWN_TASK))}
    names = sorted(set(tasks.values()), key=lambda task: (order.get(task, len(order)), task))
    return Figures(
        baseline=against.kind,
        tasks=tuple(
            _of_task(
                task,
                [row for row in rows if tasks[row.prompt] == task],
                [p for p in second if p.task == task],
            )
            for task in names
        ),
        totals=_totals(rows, tasks, first, second, greedy),
    )


def routed_tasks(rows: Iterable[Row]) -> dict[str, str]:
    """What the router took every prompt for. A failed request is of the task its prompt had elsewhere."""
    tasks: dict[str, str] = {}
    for row in rows:
        known = tasks.setdefault(row.prompt, UNKNOWN_TASK)
        if known == UNKNOWN_TASK and row.task is not None:
            tasks[row.prompt] = row.task
    return tasks


def accepted(rows: Iterable[Row]) -> Acceptance:
    """Alpha, c_1 and L of speculative requests; those without complete steps count nowhere."""
    counts = []
    for row in rows:
        if not row.speculative or row.k is None or row.per_step_drafted is None:
            continue
        steps = RequestSteps(row.k, row.per_step_drafted, row.per_step_accepted or ())
        if steps.problem() is None:
            counts.append(counters(steps))
    total = pooled(counts)
    length = total["tokens"] / total["steps"] if total.get("steps") else None
    seen = positions(total)
    if not seen:
        return Acceptance(length=length)
    coverage = [position.proposed / position.reached for position in seen]
    acceptance = [position.accepted / position.proposed if position.proposed else 0.0 for position in seen]
    expected = acceptance_length(acceptance, coverage, REFERENCE_K)
    return Acceptance(effective_acceptance(expected, REFERENCE_K), coverage[0], length)


def _of_task(task: str, rows: Sequence[Row], second: Sequence[Pair]) -> TaskFigures:
    speculative = [row for row in rows if row.speculative]
    chosen = [row for row in rows if row.reason not in _BY_CHANCE]
    profiles = Counter(row.profile for row in speculative)
    profile = profiles.most_common(1)[0][0] if profiles else None
    of_profile = [row for row in speculative if row.profile == profile]
    ks = [row.k for row in of_profile if row.phase == "second" and row.k is not None]
    ks = ks or [row.k for row in of_profile if row.k is not None]
    drafts = accepted(of_profile)
    share_of_vanilla = ratio(second)
    return TaskFigures(
        task=task,
        requests=sum(row.phase == "second" for row in rows),
        failed=sum(row.error is not None for row in rows),
        first_share=_speculative_share(rows, "first"),
        second_share=_speculative_share(rows, "second"),
        first_chosen_share=_speculative_share(chosen, "first"),
        second_chosen_share=_speculative_share(chosen, "second"),
        profile=profile,
        k=median(ks) if ks else None,
        alpha=drafts.alpha,
        coverage_1=drafts.coverage_1,
        acceptance_length=drafts.length,
        speculative_tpot_s=mean_tpot_s(of_profile),
        vanilla_tpot_s=mean_tpot_s(row for row in rows if row.route == "vanilla"),
        saved=None if share_of_vanilla is None else 1 - share_of_vanilla,
    )


def _totals(
    rows: Sequence[Row],
    tasks: Mapping[str, str],
    first: Sequence[Pair],
    second: Sequence[Pair],
    greedy: frozenset[str],
) -> Totals:
    intended = {row.prompt: row.intended_task for row in rows}
    known = {prompt: task for prompt, task in tasks.items() if task != UNKNOWN_TASK}
    both = [same for same in _same_answers(rows).items() if same[0] in greedy]
    return Totals(
        requests=len(rows),
        failed=sum(row.error is not None for row in rows),
        classified_as_intended=sum(intended[prompt] == task for prompt, task in known.items()),
        classified=len(known),
        first_share=_speculative_share(rows, "first"),
        second_share=_speculative_share(rows, "second"),
        first_ratio=ratio(first),
        second_ratio=ratio(second),
        first_interval=interval(first),
        second_interval=interval(second),
        compared=len(second),
        greedy_pairs=len(both),
        identical_greedy_pairs=sum(same for _, same in both),
    )


def _speculative_share(rows: Iterable[Row], phase: Pass) -> float | None:
    routes = [row.route for row in rows if row.phase == phase and row.error is None]
    return routes.count("speculative") / len(routes) if routes else None


def _same_answers(rows: Iterable[Row]) -> dict[str, bool]:
    """For prompts that were answered on both routes: whether every answer has the same text."""
    texts: dict[str, set[str]] = {}
    routes: dict[str, set[str]] = {}
    for row in rows:
        if row.error is None and row.text is not None and row.route is not None:
            texts.setdefault(row.prompt, set()).add(row.text)
            routes.setdefault(row.prompt, set()).add(row.route)
    return {prompt: len(found) == 1 for prompt, found in texts.items() if len(routes[prompt]) > 1}
