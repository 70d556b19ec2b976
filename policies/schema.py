"""The policy file as frozen models: `RoutingPolicy` and what stands in it.

Models check values; `policies.loading` turns text into them and errors into sentences with positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Final, Literal

from pydantic import Field, Strict

from policies.base import MAX_KEYWORDS, Fraction, Keyword, Mode, Name, PolicyModel, Switch, TaskName
from policies.groups import (
    Acceptance,
    Affinity,
    DraftLength,
    DraftLengthOverride,
    Exploration,
    ExplorationOverride,
    Holdout,
    Limits,
    LimitsOverride,
    Objective,
    ObjectiveOverride,
    Threshold,
    ThresholdOverride,
)
from policies.problems import Path, Violation, choices_hint
from policies.tasks import TASKS
from policies.units import Share
from policies.window import Window

MAX_SCHEDULES: Final = 64
"""A week has no use for more."""


class Override(PolicyModel):
    """What every more specific layer may change."""

    threshold: ThresholdOverride | None = None
    """Band that switches speculation."""
    objective: ObjectiveOverride | None = None
    """What adaptive mode optimises."""
    k: DraftLengthOverride | None = None
    """Draft tokens per step."""
    exploration: ExplorationOverride | None = None
    """Share of requests that explore."""


class TaskOverride(Override):
    """What differs for one task."""

    prior_alpha: Fraction | None = None
    """Acceptance assumed before there is evidence."""


class Bounds(PolicyModel):
    """The span within which a tenant may choose."""

    min: Fraction = 0.0
    """Lowest value."""
    max: Fraction = 1.0
    """Highest value."""

    def violations(self) -> Sequence[Violation]:
        """The span must not be empty."""
        if self.min <= self.max:
            return ()
        return [Violation((("min",), ("max",)), f"min {self.min:g} is above max {self.max:g}")]


class SelfService(PolicyModel):
    """What a tenant may set for itself."""

    threshold: Bounds | None = None
    """Bounds of the tenant's own thresholds."""


class TenantOverride(Override):
    """What differs for one tenant."""

    segment: Name | None = None
    """Group of tenants in reports."""
    limits: LimitsOverride | None = None
    """What the tenant may use."""
    tasks: Mapping[TaskName, Override] = {}
    """What differs for one task of this tenant."""
    self_service: SelfService | None = None
    """What the tenant may set for itself."""


class Keywords(PolicyModel):
    """Words in the last user turn or the system prompt: whole words or phrases, in any case."""

    keywords_any: tuple[Keyword, ...] = ()
    """One of these must be there."""
    keywords_all: tuple[Keyword, ...] = ()
    """All of these must be there."""

    def violations(self) -> Sequence[Violation]:
        """A condition must ask for something."""
        if self.keywords_any or self.keywords_all:
            return ()
        return [Violation(((),), "no keywords", "name some, or remove `when`: X-Specroute-Task is enough")]


class CustomTask(PolicyModel):
    """A task of the operator's own. X-Specroute-Task may name it; its prior_alpha stands under tasks."""

    name: TaskName
    """Name, as used under tasks."""
    when: Keywords | None = None
    """Words that make a request one of this task; the first custom task whose words are there is taken."""


class Schedule(Override):
    """What differs at certain hours: stronger than spec, weaker than tasks and tenants."""

    name: Name
    """Name, as shown by explain."""
    when: Window
    """The hours."""


class Canary(PolicyModel):
    """Another policy that serves a share of the requests."""

    policy: Annotated[str, Strict(), Field(min_length=1)]
    """File of the other policy."""
    share: Share
    """Share of requests it serves."""


class Metadata(PolicyModel):
    """What the policy is called."""

    name: Name
    """Name, shown as name@revision."""


class Spec(PolicyModel):
    """The settings of all requests, and what differs per task and tenant."""

    mode: Mode = "adaptive"
    """How routes are chosen: by predicted time (adaptive), by the band (threshold), or always the same."""
    allow_overrides: Switch = False
    """Honour X-Specroute-Route and X-Specroute-K."""
    acceptance: Acceptance = Acceptance()
    """How evidence ages and when it counts."""
    threshold: Threshold = Threshold()
    """Band that switches speculation."""
    objective: Objective = Objective()
    """What adaptive mode optimises."""
    k: DraftLength = DraftLength()
    """Draft tokens per step."""
    exploration: Exploration = Exploration()
    """Share of requests that explore."""
    affinity: Affinity = Affinity()
    """How long a conversation stays on its replica."""
    limits: Limits = Limits()
    """What one tenant may use."""
    holdout: Holdout = Holdout()
    """Randomised vanilla share that proves the saving."""
    custom_tasks: tuple[CustomTask, ...] = ()
    """Tasks of the operator's own."""
    schedules: tuple[Schedule, ...] = ()
    """What differs at certain hours; where two apply at once, the later one in the file holds."""
    tasks: Mapping[TaskName, TaskOverride] = {}
    """What differs per task."""
    tenants: Mapping[Name, TenantOverride] = {}
    """What differs per tenant."""
    canary: Canary | None = None
    """Another policy that serves a share of the requests."""

    def violations(self) -> Sequence[Violation]:
        """Names must be unique, tasks must exist, and there is an end to schedules and keywords."""
        return [
            *self._repeated_names(),
            *self._unknown_tasks(),
            *self._too_many_schedules(),
            *self._too_many_keywords(),
        ]

    def _too_many_schedules(self) -> Iterator[Violation]:
        # Every two schedules that can apply together are checked against each other.
        if len(self.schedules) > MAX_SCHEDULES:
            message = f"{len(self.schedules)} schedules are too many; at most {MAX_SCHEDULES}"
            yield Violation((("schedules",),), message)

    def _repeated_names(self) -> Iterator[Violation]:
        seen: set[str] = set(TASKS)
        for index, task in enumerate(self.custom_tasks):
            if task.name in seen:
                yield Violation((("custom_tasks", index, "name"),), f"the task {task.name!r} exists already")
            seen.add(task.name)
        seen = set()
        for index, schedule in enumerate(self.schedules):
            if schedule.name in seen:
                yield Violation(
                    (("schedules", index, "name"),), f"the schedule {schedule.name!r} exists already"
                )
            seen.add(schedule.name)

    def _too_many_keywords(self) -> Iterator[Violation]:
        # Every request is searched for all of them.
        number = sum(len(t.when.keywords_any) + len(t.when.keywords_all) for t in self.custom_tasks if t.when)
        if number > MAX_KEYWORDS:
            yield Violation(
                (("custom_tasks",),), f"{number} keywords are too many", f"at most {MAX_KEYWORDS} in all"
            )

    def _unknown_tasks(self) -> Iterator[Violation]:
        known = (*TASKS, *(task.name for task in self.custom_tasks))
        paths: list[Path] = [("tasks", task) for task in self.tasks]
        paths += [
            ("tenants", tenant, "tasks", task) for tenant, own in self.tenants.items() for task in own.tasks
        ]
        for path in paths:
            if path[-1] not in known:
                yield Violation((path, ("custom_tasks",)), "unknown task", choices_hint(path[-1], known))


class RoutingPolicy(PolicyModel):
    """A policy file."""

    api_version: Literal["specroute/v1"] = Field(alias="apiVersion")
    """Version of this format."""
    kind: Literal["RoutingPolicy"]
    """Kind of document."""
    metadata: Metadata
    """What the policy is called."""
    spec: Spec
    """The settings."""
