"""Where routers keep what tenants set for themselves: a small protocol, the store behind it, and a fake.

Texts are opaque here. Every write makes a new version, so that others notice by reading one short key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, get_args
from uuid import uuid4

from router.scripts import StoreConnection, load_script
from router.stats_protocol import StoreUnavailableError
from router.store_records import KeyNames

Written = Literal["done", "changed", "full"]
"""How a write ended: `changed` when the text was not the expected one, `full` when there is no room."""
_WRITTEN: Final[dict[bytes, Written]] = {word.encode(): word for word in get_args(Written)}


@dataclass(frozen=True, slots=True)
class StoredPreferences:
    """All tenants' texts, and the version they belong to; an empty store's version is empty."""

    version: str
    texts: Mapping[str, str]


class PreferenceStore(Protocol):
    """A store of one text a tenant. Every method may raise StoreUnavailableError, quickly."""

    async def read_preferences(self, known: str | None) -> StoredPreferences | None:
        """Everything that is stored; None while the version is still `known`."""
        ...

    async def write_preferences(self, tenant: str, text: str, *, expected: str, most: int) -> Written:
        """Replace a tenant's text if it is the expected one; an empty text is none.

        At most `most` tenants are kept; one more is not added.
        """
        ...


class ConnectedPreferences:
    """A PreferenceStore in Redis: a hash with a field a tenant, and its version. Neither expires."""

    def __init__(self, connection: StoreConnection, model: str) -> None:
        prefix = KeyNames(model).prefix
        self._connection = connection
        self._texts = prefix + "preferences"
        self._version = prefix + "preferences-version"
        self._script = load_script("set_preferences.lua")

    async def read_preferences(self, known: str | None) -> StoredPreferences | None:
        """See PreferenceStore.read_preferences."""
        # The version first: texts of a write in between are only read once more.
        version = _text(await self._connection.command("GET", self._version) or b"")
        if version == known:
            return None
        texts: Mapping[bytes, bytes] = await self._connection.command("HGETALL", self._texts)
        return StoredPreferences(version, {_text(name): _text(text) for name, text in texts.items()})

    async def write_preferences(self, tenant: str, text: str, *, expected: str, most: int) -> Written:
        """See PreferenceStore.write_preferences."""
        arguments = [tenant, expected, text, uuid4().hex, str(most)]
        (word,) = await self._connection.run_script(self._script, [self._texts, self._version], arguments)
        return _WRITTEN[word]


@dataclass
class FakePreferenceStore:
    """A PreferenceStore in memory.

    Attributes:
        down: Every call fails.
        lose_replies: How many of the next writes are done but answered with a failure.
    """

    down: bool = False
    lose_replies: int = 0
    texts: dict[str, str] = field(default_factory=dict)
    version: str = ""

    async def read_preferences(self, known: str | None) -> StoredPreferences | None:
        """See PreferenceStore.read_preferences."""
        self._answer()
        return None if known == self.version else StoredPreferences(self.version, dict(self.texts))

    async def write_preferences(self, tenant: str, text: str, *, expected: str, most: int) -> Written:
        """See PreferenceStore.write_preferences."""
        self._answer()
        kept = self.texts.get(tenant, "")
        if kept != expected:
            return "changed"
        if text and not kept and len(self.texts) >= most:
            return "full"
        if text:
            self.texts[tenant] = text
        else:
            self.texts.pop(tenant, None)
        self.version = uuid4().hex
        if self.lose_replies:
            self.lose_replies -= 1
            raise StoreUnavailableError("the fake store lost its reply")
        return "done"

    def _answer(self) -> None:
        if self.down:
            raise StoreUnavailableError("the fake store is down")


def _text(given: bytes) -> str:
    return given.decode("utf-8", "replace")
