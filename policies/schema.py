"""The policy file as frozen models: `RoutingPolicy` and what stands in it.

Models check values; `policies.loading` turns text into them and errors into sentences with positions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Final, Literal

from pydantic import Field, Strict

from policies.base import MAX_KEYWORDS, FileName, Keyword, Mode, Name, PolicyModel, Switch, TaskName
from policies.groups import (
    Acceptance,
    Affinity,
    Confidence,
    DraftLength,
    Exploration,
    Holdout,
    Limits,
    Objective,
    Threshold,
)
from policies.overrides import Override, SegmentOverride, TaskOverride, TenantOverride
from policies.problems import MAX_PROBLEMS, Path, Violation, choices_hint, show
from policies.tasks import TASKS
from policies.units import Share
from policies.window import Window

MAX_SCHEDULES: Final = 64
"""A week has no use for more."""


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


class Stop(PolicyModel):
    """When a canary is ended because it is worse."""

    confidence: Confidence = 0.95
    """Probability with which it must be worse."""
    min_requests: Annotated[int, Strict(), Field(ge=30)] = 200
    """Requests that each of the two policies must have decided before they are compared."""


class Canary(PolicyModel):
    """Another policy that serves a share of the traffic, until it is promoted or found to be worse."""

    policy: FileName
    """File of the other policy, beside the policy file of the deployment."""
    share: Share
    """Share of requests, or of tenants, that it serves."""
    by: Literal["request", "tenant"] = "request"
    """What is divided: each request by itself, or tenants, so that each stays on one policy."""
    stop: Stop = Stop()
    """When it is ended because it is worse."""

    def violations(self) -> Sequence[Violation]:
        """Somebody must be left to compare with."""
        if self.share < 1:
            return ()
        hint = "at 50% the comparison is soonest sure; to give it all traffic, promote it"
        return [Violation((("share",),), "a share of 100% leaves nobody to compare with", hint)]


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
    segments: Mapping[Name, SegmentOverride] = {}
    """What differs for groups of tenants; a tenant names its own with `segment`."""
    tenants: Mapping[Name, TenantOverride] = {}
    """What differs per tenant."""
    canary: Canary | None = None
    """Another policy that serves a share of the traffic."""

    @property
    def known_tasks(self) -> tuple[str, ...]:
        """Every task a request may be: the built-in ones and the operator's own."""
        return (*TASKS, *(task.name for task in self.custom_tasks))

    def tasks_of(self, tenant: str | None = None, *, segment: str | None = None) -> tuple[str, ...]:
        """The tasks with settings that concern a tenant: everyone's, its segment's and its own."""
        own = None if tenant is None else self.tenants.get(tenant)
        shared = self.segments.get((own.segment if own else segment) or "")
        groups = (self.tasks, shared.tasks if shared else {}, own.tasks if own else {})
        return tuple(dict.fromkeys(task for group in groups for task in group))

    def violations(self) -> Sequence[Violation]:
        """Names are unique, tasks and segments exist, and there is an end to schedules and keywords."""
        found = itertools.chain(
            self._repeated_names(),
            self._unknown_tasks(),
            self._unknown_segments(),
            self._too_many_schedules(),
            self._too_many_keywords(),
        )
        return list(itertools.islice(found, MAX_PROBLEMS + 1))

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
        known = dict.fromkeys(self.known_tasks)
        groups = (("segments", self.segments), ("tenants", self.tenants))
        paths: list[Path] = [("tasks", task) for task in self.tasks]
        paths += [
            (kind, name, "tasks", task)
            for kind, named in groups
            for name, own in named.items()
            for task in own.tasks
        ]
        for path in paths:
            if path[-1] not in known:
                yield Violation(
                    (path, ("custom_tasks",)), "unknown task", choices_hint(path[-1], tuple(known))
                )

    def _unknown_segments(self) -> Iterator[Violation]:
        known = tuple(self.segments)
        for tenant, own in self.tenants.items():
            if own.segment is None or own.segment in self.segments:
                continue
            hint = choices_hint(own.segment, known) if known else f"describe it under segments.{own.segment}"
            path: Path = ("tenants", tenant, "segment")
            yield Violation((path, ("segments", own.segment)), f"unknown segment {show(own.segment)}", hint)


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
