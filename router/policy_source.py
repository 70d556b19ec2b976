"""The policy in force: what requests ask, and what operators are told about it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from policies.loading import PolicyError
from policies.preferences import Preferences
from policies.resolve import EffectivePolicy
from policies.schema import CustomTask, RoutingPolicy
from policies.tasks import TASKS
from router.policy_file import Loaded, PolicyFile, default_policy, load
from router.policy_protocol import PolicyVersion

__all__ = ["PolicySource", "PolicyState", "default_policy"]

_log = logging.getLogger(__name__)

Rejected = Literal["file", "store"]


@dataclass(frozen=True, slots=True)
class PolicyState:
    """What `GET /admin/v1/policy` tells: the text in force, its origin, what is wrong with a newer one.

    `version`, `origin`, `author`, `note` and `at` are those of the version in the store. Without a version
    the policy is the file's own, known to this router only.
    """

    name: str
    revision: str
    source: str
    text: str
    rejected: str | None = None
    version: int | None = None
    origin: str = "file"
    author: str = ""
    note: str = ""
    at: float | None = None


class PolicySource:
    """Holds the policy table that requests are resolved with, and the file it came from.

    What is in force changes between two requests: one that got its settings from one policy is never labelled
    with another. Which policy that is, of the file's and those in the store, `router.policy_sync` decides.
    """

    def __init__(
        self,
        path: Path | None = None,
        clock: Callable[[], float] = time.time,
        *,
        preferences: Callable[[str], Preferences | None] = lambda _: None,
        may_start_without_file: bool = False,
    ) -> None:
        """Load the policy.

        Args:
            path: The policy file; None is the built-in policy.
            clock: Seconds since 1970; says which of the policy's schedules apply.
            preferences: What a tenant set for itself.
            may_start_without_file: Where the file cannot be used, begin with the built-in policy: the store
                may have one. `file_policy` is None then.

        Raises:
            PolicyError: The file cannot be used.
            OSError: The file cannot be read.
        """
        self.file = PolicyFile(path)
        self.file_policy: Loaded | None = None
        self._clock = clock
        self._preferences = preferences
        self._rejected: dict[Rejected, str] = {}
        self._version: PolicyVersion | None = None
        found = self.file.newest()
        if isinstance(found, Loaded):
            self.file_policy = found
        elif found is not None and not may_start_without_file:
            raise found
        self._loaded = self.file_policy or load(default_policy().encode(), "default.yaml")
        self._state = self._described()
        self._note(found)

    @property
    def label(self) -> str:
        """name@revision, for `X-Specroute-Policy`."""
        return self._loaded.label

    @property
    def loaded(self) -> Loaded:
        """The policy in force, ready for use."""
        return self._loaded

    @property
    def version(self) -> PolicyVersion | None:
        """The version in the store that is in force, None for a policy the store does not have."""
        return self._version

    @property
    def state(self) -> PolicyState:
        """The policy in force."""
        return self._state

    @property
    def policy(self) -> RoutingPolicy:
        """The policy in force, as it was read."""
        return self._loaded.table.policy

    @property
    def custom_tasks(self) -> tuple[CustomTask, ...]:
        """The operator's own tasks."""
        return self._loaded.custom_tasks

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task a request may name: the built-in ones and the operator's own."""
        return (*TASKS, *(task.name for task in self.custom_tasks))

    def resolve(self, *, tenant: str, task: str) -> EffectivePolicy:
        """What holds for this tenant and task now."""
        return self._loaded.table.resolve(
            tenant=tenant, task=task, now_s=self._clock(), preferences=self._preferences(tenant)
        )

    def reload(self) -> bool:
        """Read the file again and use it, whatever the store has; True when another policy is in force then.

        Never raises.
        """
        before = self.label
        if self.note_file(self.file.newest()) and self.file_policy is not None:
            self.take_over(self.file_policy)
        return self.label != before

    def note_file(self, found: Loaded | PolicyError | OSError | None) -> bool:
        """Remember what `file.newest` found; True when it is a policy that can be used."""
        if found is None:
            return False
        self._note(found)
        if isinstance(found, Loaded):
            self.file_policy = found
            return True
        return False

    def take_over(self, loaded: Loaded, version: PolicyVersion | None = None) -> None:
        """Put a policy in force; `version` is its place in the store, None when it has none."""
        if loaded is self._loaded and version == self._version:
            return
        is_another = loaded.revision != self._loaded.revision
        self._loaded, self._version = loaded, version
        self._state = self._described()
        if is_another:
            _log.info("policy %s is in force: %s", self.label, _words(self._state))

    def reject(self, what: Rejected, problems: str | None) -> None:
        """Tell what is wrong with the file, or with the store's version; None when it is mended."""
        if problems == self._rejected.get(what):
            return
        if problems is None:
            del self._rejected[what]
        else:
            self._rejected[what] = problems
            _log.error("policy rejected, %s stays in force:\n%s", self.label, problems)
        self._state = self._described()

    def rejects(self, what: Rejected) -> bool:
        """Whether there is something newer that cannot be used."""
        return what in self._rejected

    def _note(self, found: Loaded | PolicyError | OSError | None) -> None:
        match found:
            case OSError():
                self.reject("file", f"{self.file.path}: {found.strerror or found}")
            case PolicyError():
                self.reject("file", str(found))
            case Loaded():
                self.reject("file", None)

    def _described(self) -> PolicyState:
        loaded, version = self._loaded, self._version
        state = PolicyState(
            name=loaded.name,
            revision=loaded.revision,
            source=loaded.source,
            text=loaded.text.decode(),
            rejected="\n".join(self._rejected.values()) or None,
            origin="preset" if self.file.path is None else "file",
        )
        if version is None:
            return state
        change = version.change
        return replace(
            state,
            source=change.source or f"version {version.place.number}",
            version=version.place.number,
            origin=change.origin,
            author=change.author,
            note=change.note,
            at=change.at_s,
        )


def _words(state: PolicyState) -> str:
    if state.version is None:
        return state.source
    who = f" by {state.author}" if state.author else ""
    why = f" ({state.note})" if state.note else ""
    return f"version {state.version}, {state.origin}{who}{why}"
