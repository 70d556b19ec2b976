"""Where routers note which drafter a pool's evidence is of: a protocol, the store behind it, and a fake."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from router.scripts import StoreConnection, load_script
from router.stats_protocol import StoreUnavailableError
from router.store_records import KeyNames

_KEPT_S: Final = 30 * 24 * 3600
"""As long as evidence that nobody adds to."""


class DrafterStore(Protocol):
    """A store of one name a profile. Its method may raise StoreUnavailableError, quickly."""

    async def put(self, profile: str, drafter: str) -> str:
        """Note the drafter of a profile; the one that was noted before, '' where there was none."""
        ...


class ConnectedDrafters:
    """A DrafterStore in Redis: a key a profile. Of routers that note the same, one sees what was before."""

    def __init__(self, connection: StoreConnection, model: str) -> None:
        self._connection = connection
        self._prefix = f"{KeyNames(model).prefix}drafter:"
        self._script = load_script("put_drafter.lua")

    async def put(self, profile: str, drafter: str) -> str:
        """See DrafterStore.put."""
        keys, arguments = [f"{self._prefix}{profile}"], [drafter, str(_KEPT_S)]
        (before,) = await self._connection.run_script(self._script, keys, arguments)
        told: str = before.decode("utf-8", "replace")
        return told


@dataclass
class FakeDrafterStore:
    """A DrafterStore in memory.

    Attributes:
        down: Every call fails.
    """

    down: bool = False
    drafters: dict[str, str] = field(default_factory=dict)

    async def put(self, profile: str, drafter: str) -> str:
        """See DrafterStore.put."""
        if self.down:
            raise StoreUnavailableError("the fake store is down")
        before = self.drafters.get(profile, "")
        self.drafters[profile] = drafter
        return before
