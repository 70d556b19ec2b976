"""What a router knows of its tenants, put together: their keys, and what they set for themselves."""

from __future__ import annotations

import asyncio
from pathlib import Path

from router.key_file import KeyFile
from router.preference_store import PreferenceStore
from router.preferences import TenantPreferences
from router.settings import TenancySettings
from router.tenancy import Tenancy


class Tenants:
    """Keys and preferences of one router, and the tasks that keep them fresh."""

    def __init__(self, settings: TenancySettings) -> None:
        """Read the keys.

        Raises:
            KeysError: The keys file cannot be used.
            OSError: The keys file cannot be read.
        """
        self._keys = KeyFile(Path(settings.keys_file)) if settings.keys_file else None
        self.tenancy = Tenancy(
            self._keys, trusted_header=settings.trusted_header, anonymous=settings.anonymous
        )
        self.preferences = TenantPreferences(most=settings.max_tenants)

    def has_key(self, tenant: str) -> bool:
        """Whether a key in force is this tenant's."""
        return self._keys is not None and tenant in self._keys.table.tenants

    def with_keys(self) -> frozenset[str] | None:
        """The tenants that keys in force belong to; None where nobody needs a key."""
        return self._keys.table.tenants if self._keys is not None else None

    async def start(self, store: PreferenceStore, interval_s: float) -> list[asyncio.Task[None]]:
        """Read what tenants set; the tasks, started, that look for changes from now on."""
        self.preferences.attach(store)
        await self.preferences.refresh()
        tasks = [asyncio.create_task(self.preferences.watch(interval_s), name="watch-preferences")]
        if self._keys is not None:
            tasks.append(asyncio.create_task(self._keys.watch(interval_s), name="watch-keys"))
        return tasks
