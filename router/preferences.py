"""What tenants set for themselves: read from memory by every request, kept in the store for all routers."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any, Final

from policies.preferences import Preferences, PreferencesError, parse_preferences
from router.background import repeated
from router.errors import ApiError, BadRequestError, UnavailableError
from router.preference_store import PreferenceStore, StoredPreferences
from router.stats_protocol import StoreUnavailableError

_log = logging.getLogger(__name__)

_ATTEMPTS: Final = 5
_RETRY_AFTER_S: Final = 2
_PRECONDITION_FAILED: Final = 412
_NO_ROOM: Final = 507
_NONE: Final = Preferences()


class TenantPreferences:
    """The preferences in force on this router.

    The store's word stands: what a tenant sets is in force here once it is stored, and elsewhere with the
    next poll. While the store is away the last known preferences stay in force and none can be set. A text
    that cannot be read (a later version wrote it) is logged and passed over.
    """

    def __init__(self, *, most: int) -> None:
        """Begin without any; at most `most` tenants may have some."""
        self._most = most
        self._store: PreferenceStore | None = None
        self._version: str | None = None
        self._texts: dict[str, str] = {}
        self._parsed: dict[str, Preferences] = {}
        self._talking = asyncio.Lock()
        self._store_up = True

    def attach(self, store: PreferenceStore) -> None:
        """Use this store from now on."""
        self._store = store

    def get(self, tenant: str) -> Preferences | None:
        """What a tenant set, None where it set nothing: a dictionary read."""
        return self._parsed.get(tenant)

    def written(self, tenant: str) -> dict[str, Any]:
        """The same as JSON, empty where it set nothing."""
        return self._parsed.get(tenant, _NONE).written()

    def etag(self, tenant: str) -> str:
        """Names the tenant's preferences as they are: equal on all routers, another after any change."""
        return f'"{sha256(self._texts.get(tenant, "").encode()).hexdigest()[:16]}"'

    def state(self) -> dict[str, Any]:
        """For operators: everything that tenants set."""
        return {tenant: found.written() for tenant, found in sorted(self._parsed.items())}

    async def refresh(self) -> bool:
        """Read what changed in the store; False when it could not be reached. Never raises."""
        async with self._talking:
            try:
                await self._read()
            except StoreUnavailableError as error:
                if self._store_up:
                    _log.warning("tenants' preferences stay as they are: %s", error)
                self._store_up = False
                return False
            self._store_up = True
            return True

    async def change(self, tenant: str, preferences: Preferences, *, if_match: str | None = None) -> None:
        """Replace what a tenant set, for good and for all routers; empty preferences take it back.

        Raises:
            BadRequestError: `if_match` is given, and the preferences are not the ones it names (412).
            UnavailableError: The store does not answer.
            ApiError: No further tenant can be kept (507).
        """
        text = _text(preferences)
        try:
            async with self._talking:
                await self._write(tenant, text, if_match)
                self._take(tenant, text)
        except StoreUnavailableError:
            raise UnavailableError(
                "the store does not answer, so preferences cannot be set; those known stay in force: retry",
                retry_after_s=_RETRY_AFTER_S,
            ) from None

    async def watch(
        self, interval_s: float, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """Refresh for as long as the task lives."""
        await repeated("tenants' preferences", self.refresh, interval_s, sleep)

    async def _read(self) -> None:
        found = await self._attached.read_preferences(self._version)
        if found is not None:
            self._take_all(found)

    async def _write(self, tenant: str, text: str, if_match: str | None) -> None:
        for _ in range(_ATTEMPTS):
            await self._read()
            if if_match is not None and not _names(if_match, self.etag(tenant)):
                raise BadRequestError(
                    "If-Match: the preferences have changed since: GET them, and send their ETag",
                    param="If-Match",
                    status=_PRECONDITION_FAILED,
                )
            kept = self._texts.get(tenant, "")
            if kept == text:
                return
            match await self._attached.write_preferences(tenant, text, expected=kept, most=self._most):
                case "done":
                    self._version = None  # another now; whatever the store has next is news
                    return
                case "full":
                    raise ApiError(
                        f"preferences of {self._most} tenants are kept and no more: "
                        "ask the operator to raise tenancy.max_tenants",
                        status=_NO_ROOM,
                    )
                case "changed":
                    self._version = None  # somebody else's write: look again
        raise StoreUnavailableError("others keep changing the same preferences")

    @property
    def _attached(self) -> PreferenceStore:
        if self._store is None:
            raise StoreUnavailableError("no store yet")
        return self._store

    def _take_all(self, found: StoredPreferences) -> None:
        known, self._texts, self._parsed = self._texts, {}, {}
        for tenant, text in list(found.texts.items())[: self._most]:
            self._take(tenant, text, is_new=known.get(tenant) != text)
        self._version = found.version

    def _take(self, tenant: str, text: str, *, is_new: bool = True) -> None:
        self._texts.pop(tenant, None)
        self._parsed.pop(tenant, None)
        if not text:
            return
        self._texts[tenant] = text
        try:
            self._parsed[tenant] = parse_preferences(json.loads(text))
        except (ValueError, RecursionError) as error:
            if is_new:
                what = str(error).splitlines()[0] if isinstance(error, PreferencesError) else "no JSON"
                _log.error("stored preferences of tenant %s are passed over: %s", tenant, what)


def _text(preferences: Preferences) -> str:
    """As it is stored; nothing where nothing is set."""
    written = preferences.written()
    return json.dumps(written, sort_keys=True, separators=(",", ":")) if written else ""


def _names(if_match: str, etag: str) -> bool:
    """Whether an If-Match header names an entity tag; a weak tag never does (RFC 9110, 13.1.1)."""
    tags = [tag.strip() for tag in if_match.split(",")]
    return "*" in tags or etag in tags or etag.strip('"') in tags
