"""What operators do to the policy over HTTP: put a text, go back to an earlier version, check a text."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

from policies.problems import Problem
from router.policy_file import Loaded, load_with_warnings
from router.policy_protocol import PolicyChange, PolicyVersion
from router.policy_sync import PolicySync
from router.stats_protocol import StoreUnavailableError

_SOURCE = "policy"
"""What problems call a text that came over HTTP."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Who changes the policy and why, in their own words."""

    author: str = ""
    note: str = ""


class UnknownRevisionError(LookupError):
    """The history has no such version; the text says which it has."""


class PolicyChanges:
    """The acts of operators.

    `clock` is seconds since 1970, for the times people are shown. `tenants_with_keys` are the tenants that
    API keys belong to, None where there are no keys: a warning is based on it.
    """

    def __init__(
        self,
        sync: PolicySync,
        clock: Callable[[], float] = time.time,
        tenants_with_keys: Callable[[], Collection[str] | None] = lambda: None,
    ) -> None:
        self._sync = sync
        self._clock = clock
        self._tenants_with_keys = tenants_with_keys
        self._parsing = asyncio.Lock()

    async def check(self, text: bytes) -> tuple[Loaded, tuple[Problem, ...]]:
        """The policy of a text that came over HTTP, and what in it is probably not meant.

        Texts are looked at one at a time, away from the event loop.

        Raises:
            PolicyError: With every problem of the text.
        """
        async with self._parsing:
            return await asyncio.to_thread(load_with_warnings, text, _SOURCE, self._tenants_with_keys())

    async def put(
        self, policy: Loaded, matches: Callable[[str], bool], signature: Signature
    ) -> PolicyVersion:
        """Put a policy in force where `matches` holds for the revision that is current.

        Raises:
            StalePolicyError: `matches` does not hold.
            StoreError: The store cannot be asked.
        """
        return await self._publish(policy, "put", matches, signature)

    async def promote(
        self, candidate: Loaded, matches: Callable[[str], bool], signature: Signature
    ) -> PolicyVersion:
        """Put a canary's candidate in force where `matches` holds for the revision that is current.

        Raises:
            StalePolicyError: `matches` does not hold.
            StoreError: The store cannot be asked.
        """
        return await self._publish(candidate, "promote", matches, signature)

    async def roll_back(
        self, revision: str | None, matches: Callable[[str], bool], signature: Signature
    ) -> PolicyVersion:
        """Put an earlier version in force again: that of a revision, or else the one before the current.

        Raises:
            UnknownRevisionError: The history has no such version.
            PolicyError: Its text cannot be used any more.
            StalePolicyError: `matches` does not hold.
            StoreError: The store cannot be asked.
        """
        past = await self._sync.store.history()
        if not past:
            raise StoreUnavailableError("the store has no versions yet")
        if revision is None:
            earlier = (version.revision for version in past if version.revision != past[0].revision)
            revision = next(earlier, None)
        text = await self._sync.store.text(revision) if revision is not None else None
        if revision is None or text is None:
            known = ", ".join(dict.fromkeys(version.revision for version in past))
            raise UnknownRevisionError(
                f"no version {revision} is kept; kept: {known}"
                if revision is not None
                else f"there is no version before {past[0].revision} to go back to"
            )
        loaded, _ = await self.check(text)
        return await self._publish(loaded, "rollback", matches, signature)

    async def _publish(
        self,
        loaded: Loaded,
        origin: Literal["put", "rollback", "promote"],
        matches: Callable[[str], bool],
        signature: Signature,
    ) -> PolicyVersion:
        change = PolicyChange(
            name=loaded.name,
            revision=loaded.revision,
            text=loaded.text,
            origin=origin,
            author=signature.author,
            note=signature.note,
            at_s=self._clock(),
        )
        return await self._sync.publish(loaded, change, matches)
