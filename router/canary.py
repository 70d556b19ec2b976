"""Which policy decides a request: the one in force, or for a share of them the canary's candidate."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from policies.canary import assigned
from policies.preferences import Preferences
from policies.resolve import EffectivePolicy, PolicyTable
from policies.schema import Canary as CanarySettings
from policies.schema import RoutingPolicy
from router.canary_store import TrialName
from router.policy_file import Loaded, PolicyFile
from router.policy_source import PolicySource

_log = logging.getLogger(__name__)


class Chosen(NamedTuple):
    """What decides a request: the settings, name@revision of their policy, and whether it is a canary's.

    `instead` says that it should have been the candidate, which failed to.
    """

    policy: EffectivePolicy
    label: str
    canary: bool = False
    instead: bool = False


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate beside the policy in force. `begun_s` is when this router began, in unix seconds."""

    name: TrialName
    candidate: Loaded
    main_label: str
    settings: CanarySettings
    table: PolicyTable
    begun_s: float


def trial(candidate: Loaded, policies: PolicySource, settings: CanarySettings, now_s: float) -> Trial:
    """The trial of `candidate` beside the policy in force.

    Evidence is shared by all requests, so how it ages is not the candidate's to say: its half-life is that of
    the policy in force until it is promoted.
    """
    main = policies.policy
    return Trial(
        name=TrialName(candidate.revision, policies.state.revision),
        candidate=candidate,
        main_label=policies.label,
        settings=settings,
        table=PolicyTable(_with_half_life(candidate.table.policy, main.spec.acceptance.half_life)),
        begun_s=now_s,
    )


class Canary:
    """Chooses the policy of every request. Whether there is a trial, `router.canary_watch` decides."""

    def __init__(
        self,
        policies: PolicySource,
        *,
        clock: Callable[[], float],
        preferences: Callable[[str], Preferences | None] = lambda _: None,
        drawn: Callable[[], str] = lambda: uuid4().hex,
    ) -> None:
        self._policies = policies
        self._clock = clock
        self._preferences = preferences
        self._drawn = drawn
        self._complained = ""
        self.trial: Trial | None = None

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task a request may name: those of the policy in force, whichever decides."""
        return self._policies.tasks

    def choose(self, *, tenant: str, task: str) -> Chosen:
        """What decides this request: by request drawn anew, by tenant the same on every router.

        Once another policy is in force the trial is over, be it noticed or not: what was put in force to undo
        something must undo it at once and for everyone.
        """
        running = self.trial
        if running is not None and running.name.main == self._policies.state.revision:
            settings = running.settings
            # Not by the client's own X-Request-Id: who could repeat the id of a candidate's request could end
            # the trial, by giving up on it again and again.
            unit = tenant if settings.by == "tenant" else self._drawn()
            if assigned(unit, running.name.candidate, settings.share):
                try:
                    policy = running.table.resolve(
                        tenant=tenant, task=task, now_s=self._clock(), preferences=self._preferences(tenant)
                    )
                except Exception as error:  # noqa: BLE001 - a candidate on trial must not cost a request
                    return self.instead_of(running.candidate.label, error, tenant=tenant, task=task)
                return Chosen(policy, running.candidate.label, canary=True)
        return Chosen(self._policies.resolve(tenant=tenant, task=task), self._policies.label)

    def instead_of(self, candidate: str, error: Exception, *, tenant: str, task: str) -> Chosen:
        """The policy in force, for a request that the candidate failed to decide.

        The failure is logged once a candidate, and counts as one of its requests that failed.
        """
        if self._complained != candidate:
            self._complained = candidate
            _log.error(
                "canary %s cannot decide a request, %s does (further ones are counted, not logged)",
                candidate,
                self._policies.label,
                exc_info=error,
            )
        policy = self._policies.resolve(tenant=tenant, task=task)
        return Chosen(policy, self._policies.label, instead=True)


class CandidateFile:
    """The candidate's file, beside the deployment's policy file. Read anew each time, as the policy is."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._file: PolicyFile | None = None
        self._found: Loaded | str = ""

    def look(self, name: str) -> Loaded | str:
        """The candidate, or why there is none to try. Takes up to a second: keep it off the event loop."""
        if self._folder is None:
            return (
                f"spec.canary.policy: {name} is looked for beside the deployment's policy file, but it has "
                "none: set policy.path in the deployment"
            )
        path = self._folder / name
        if self._file is None or self._file.path != path:
            self._file = PolicyFile(path)
        found = self._file.newest()
        match found:
            case Loaded():
                self._found = _without_canary(found)
            case OSError():
                self._found = f"{path}: {found.strerror or found}"
            case None:
                pass
            case _:
                self._found = str(found)
        return self._found


def _without_canary(candidate: Loaded) -> Loaded | str:
    """A candidate that is promoted is the policy, as it stands: so it has no canary of its own."""
    if candidate.table.policy.spec.canary is None:
        return candidate
    return f"{candidate.source}: spec.canary: a candidate has no canary of its own, remove it"


def _with_half_life(policy: RoutingPolicy, half_life_s: float) -> RoutingPolicy:
    acceptance = policy.spec.acceptance.model_copy(update={"half_life": half_life_s})
    return policy.model_copy(update={"spec": policy.spec.model_copy(update={"acceptance": acceptance})})
