"""What sharing policies needs from the store: one small protocol, its values and its errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from router.policy_lineage import FileLine
from router.stats_protocol import StoreError

KEPT_VERSIONS = 20
"""Versions whose text the store keeps."""


class PolicyRecordError(StoreError):
    """What is stored as the policy has a layout this router does not know; nothing was written."""


class Place(NamedTuple):
    """A version's place in the store.

    Numbers grow within a line; `line` differs once a store lost versions and was given one back. `id` is the
    publication's own: a store that forgot version 8 and was given another version 8 is found out by it.
    """

    line: str
    number: int
    id: str = ""


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """A policy's text, and how it came into the store.

    Attributes:
        name: The policy's name.
        revision: First 12 hex digits of the text's SHA-256.
        text: The YAML text, UTF-8.
        origin: What brought it: file, preset, put, rollback, promote, or what a later release may add.
        source: The file it was read from; empty where it was none.
        author: Who brought it, as they say themselves; may be empty.
        note: Why, in their words; may be empty.
        at_s: When, by the clock of the router that took it, in seconds since 1970. Only shown.
    """

    name: str
    revision: str
    text: bytes
    origin: str
    source: str = ""
    author: str = ""
    note: str = ""
    at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """A stored version. `files` are the files published up to it."""

    place: Place
    change: PolicyChange
    files: FileLine


class NoPolicyError(Exception):
    """Neither the file nor the store has a policy that can be used; the text says why."""


class StalePolicyError(Exception):
    """Somebody else changed the policy; `current` is what there is now."""

    def __init__(self, current: PolicyVersion) -> None:
        super().__init__(f"the policy is {current.change.name}@{current.change.revision} now")
        self.current = current


class PastVersion(NamedTuple):
    """A version as the history lists it."""

    version: int
    revision: str
    name: str
    origin: str
    source: str
    author: str
    note: str
    at: float


def past(version: PolicyVersion) -> PastVersion:
    """The version as the history lists it."""
    change = version.change
    return PastVersion(
        version.place.number,
        change.revision,
        change.name,
        change.origin,
        change.source,
        change.author,
        change.note,
        change.at_s,
    )


class RouterReport(NamedTuple):
    """What a router tells the others about itself.

    `version` is the number of the version in force, None for one the store does not have; `file_number` is
    where the router's file stands in the line of files; `rejects` says that it cannot use a newer version.
    """

    id: str
    version: int | None
    revision: str
    file_number: int
    rejects: bool


class Heard(NamedTuple):
    """What a router hears when it reports.

    Attributes:
        place: Of the current version; None when the store has none.
        others: How many other routers live.
        backers: How many of them see the file that was published last.
    """

    place: Place | None
    others: int
    backers: int


class PolicyStore(Protocol):
    """A store of policy versions shared by routers. Every method may raise StoreUnavailableError, quickly."""

    async def announce(self, report: RouterReport) -> Heard:
        """Tell that this router lives and what it has in force; what the store has. Cheap, for polling.

        Raises:
            PolicyRecordError: The stored policy has an unknown layout.
        """
        ...

    async def read(self) -> PolicyVersion | None:
        """The current version.

        Raises:
            PolicyRecordError: It has an unknown layout.
        """
        ...

    async def publish(self, version: PolicyVersion, expected: Place | None) -> bool:
        """Make `version` the current one if the current one is at `expected` (None: if there is none).

        Raises:
            PolicyRecordError: The stored policy has an unknown layout; it stays.
        """
        ...

    async def history(self) -> Sequence[PastVersion]:
        """The last versions, newest first."""
        ...

    async def text(self, revision: str) -> bytes | None:
        """The text of a version of the history."""
        ...

    async def routers(self) -> Sequence[tuple[RouterReport, float]]:
        """The living routers by id, and how long ago each reported, in seconds."""
        ...

    async def leave(self, router_id: str) -> None:
        """This router ends."""
        ...
