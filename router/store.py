"""Statistics in Redis or Valkey. The only module that imports redis."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

from redis.asyncio import Redis
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError
from redis.maint_notifications import MaintNotificationsConfig

from policies.cells import CellDelta, CellKey, CellRecord
from router.breaker import BreakerSettings, CircuitBreaker
from router.scripts import Script, load_script
from router.stats_protocol import (
    Changes,
    Cursor,
    FlushId,
    Forgotten,
    RecordVersionError,
    StoreUnavailableError,
    StoreUrlError,
)
from router.store_records import KeyNames, delta_text, parse_record

T = TypeVar("T")

_log = logging.getLogger(__name__)

_SCHEMES = {
    "redis": "redis",
    "rediss": "rediss",
    "unix": "unix",
    "valkey": "redis",
    "valkeys": "rediss",
    "valkey+unix": "unix",
}
_VERSION_ERROR = "SPECROUTEVERSION"


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Limits of the conversation with a store.

    Attributes:
        timeout_s: Longest wait for a connection, and for each part of an answer.
        call_timeout_s: Longest a whole call may take, connection included.
        cell_ttl_s: A cell nobody writes to for this long is dropped.
        page_cells: Most cells read by one script call (128 take the server about 2 ms).
        clock_allowance_s: How far a router's clock may run ahead of the store's before it is not believed.
        breaker: When to stop trying.
    """

    timeout_s: float = 0.05
    call_timeout_s: float = 0.25
    cell_ttl_s: int = 30 * 24 * 3600
    page_cells: int = 128
    clock_allowance_s: int = 5
    breaker: BreakerSettings = field(default_factory=BreakerSettings)


def redacted_url(url: str) -> str:
    """The URL without user, password and query, for messages."""
    try:
        parts = urlsplit(url)
        host = f"{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}"
    except ValueError:
        return "the given URL"
    if parts.scheme not in _SCHEMES:
        return "the given URL"
    return f"{parts.scheme}://{host}{parts.path}"


def _pool(url: str, settings: StoreSettings) -> ConnectionPool:
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in _SCHEMES:
        raise StoreUrlError(f"a store URL starts with one of {', '.join(f'{name}://' for name in _SCHEMES)}")
    # What redis-py says about a URL may quote pieces of its password: neither shown nor chained.
    problem = (
        f"cannot use the store URL {redacted_url(url)}: percent-encode special characters in its password"
    )
    try:
        pool = ConnectionPool.from_url(
            f"{_SCHEMES[scheme.lower()]}://{rest}",
            protocol=2,
            maint_notifications_config=MaintNotificationsConfig(enabled=False),  # would ask for RESP3
        )
    except (ValueError, TypeError, AttributeError, RedisError):
        raise StoreUrlError(problem) from None
    # Set afterwards because a URL's query would win over arguments.
    pool.connection_kwargs.update(
        socket_timeout=settings.timeout_s,
        socket_connect_timeout=settings.timeout_s,
        retry=Retry(NoBackoff(), 0),
        retry_on_error=[],
        decode_responses=False,
        protocol=2,
        driver_info=None,  # servers before 7.2 do not know CLIENT SETINFO
    )
    try:
        pool.make_connection()  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, RedisError):
        raise StoreUrlError(f"{problem}, and check the options after '?'") from None
    return pool


class RedisStore:
    """A StatsStore on Redis >= 6.2 or Valkey, by URL: redis://, rediss://, unix:// (or valkey…://).

    Uses EVALSHA, hashes, one sorted set and key expiry, nothing else. A call that would wait longer than
    the settings allow raises StoreUnavailableError; after a few of those a breaker makes calls raise it at
    once. `clock` is monotonic and times the breaker only: stored times come from callers.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        settings: StoreSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = redacted_url(url)
        self.garbage_fields = 0
        self._settings = settings or StoreSettings()
        self._names = KeyNames(model)
        self._breaker = CircuitBreaker(clock, self._settings.breaker)
        self._client: Redis = Redis.from_pool(_pool(url, self._settings))
        self._add_script = load_script("cells.lua", "add_cells.lua")
        self._read_script = load_script("cells.lua", "read_cells.lua")
        self._forget_script = load_script("cells.lua", "forget_cell.lua")
        self._complained: set[str] = set()

    async def add(
        self, flush: FlushId, now_s: float, deltas: Mapping[CellKey, CellDelta]
    ) -> Mapping[CellKey, CellRecord]:
        """See StatsStore.add."""
        keys = list(deltas)
        arguments: list[str] = [
            f"{now_s:.17g}",
            str(self._settings.cell_ttl_s),
            str(flush.number),
            uuid4().hex,
            str(self._settings.clock_allowance_s),
        ]
        arguments += map(delta_text, deltas.values())
        names = self._names
        script_keys = [names.changed, names.sequence, names.flush(flush.writer), *map(names.cell, keys)]
        reply = await self._guarded(lambda: self._run(self._add_script, script_keys, arguments), keys)
        return self._records(keys, reply)

    async def changed_since(self, cursor: Cursor | None) -> Changes:
        """See StatsStore.changed_since."""
        return await self._guarded(lambda: self._changed_since(cursor))

    async def forget(self, key: CellKey, expected_epoch: int, factor: float) -> Forgotten:
        """See StatsStore.forget."""
        names = self._names
        script_keys = [names.changed, names.sequence, names.cell(key)]
        arguments = [str(self._settings.cell_ttl_s), str(expected_epoch), f"{factor:.17g}", uuid4().hex]
        applied, text = await self._guarded(
            lambda: self._run(self._forget_script, script_keys, arguments), [key]
        )
        return Forgotten(applied=bool(applied), record=self._records([key], [text]).get(key))

    async def ping(self) -> None:
        """See StatsStore.ping."""
        await self._guarded(lambda: self._command("PING"))

    async def run_script(
        self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes]
    ) -> list[Any]:
        """See StoreConnection.run_script."""
        return await self._guarded(lambda: self._run(script, keys, arguments))

    async def command(self, *words: str | int) -> Any:
        """See StoreConnection.command."""
        return await self._guarded(lambda: self._command(*words))

    async def close(self) -> None:
        """See StatsStore.close."""
        await self._client.aclose()

    async def _changed_since(self, cursor: Cursor | None) -> Changes:
        incarnation, last = await self._command("HMGET", self._names.sequence, "incarnation", "n")
        if incarnation is None or last is None:
            return Changes(records={}, cursor=None, from_start=True, more=False)
        if not last.isdigit():
            name = self._names.sequence
            raise StoreUnavailableError(f"store {self.url}: {name} is damaged: its number is {last[:32]!r}")
        place = Cursor(incarnation.decode("utf-8", "replace"), 0)
        # Another incarnation, or numbers that went back (a restart from an older snapshot): all anew.
        from_start = cursor is None or cursor.incarnation != place.incarnation or int(last) < cursor.sequence
        if cursor is not None and not from_start:
            place = cursor
        page = self._settings.page_cells
        bounds = (f"({place.sequence}", "+inf", "WITHSCORES", "LIMIT", 0, page)
        flat: list[bytes] = await self._command("ZRANGEBYSCORE", self._names.changed, *bounds)
        if not flat:
            return Changes(records={}, cursor=place, from_start=from_start, more=False)
        named = [name.decode("utf-8", "replace") for name in flat[::2]]
        cells = {name: key for name in named if (key := self._names.parse_cell(name)) is not None}
        reply = await self._run(self._read_script, [self._names.changed, *cells], ())
        return Changes(
            records=self._records(cells.values(), reply),
            cursor=Cursor(place.incarnation, int(float(flat[-1]))),
            from_start=from_start,
            more=len(named) == page,
        )

    def _records(self, keys: Iterable[CellKey], texts: Iterable[bytes]) -> dict[CellKey, CellRecord]:
        records = {}
        for key, text in zip(keys, texts, strict=True):
            if not text:
                continue
            try:
                records[key], garbage = parse_record(text)
            except ValueError as error:
                self._complain(key, f"is passed over: {error}")
                continue
            if garbage:
                self.garbage_fields += garbage
                self._complain(key, f"holds {garbage} fields that are no numbers; they are ignored")
        return records

    def _complain(self, key: CellKey, problem: str) -> None:
        name = self._names.cell(key)
        if name not in self._complained:
            self._complained.add(name)
            _log.error("store %s: record %s %s", self.url, name, problem)

    async def _run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes]) -> list[Any]:
        call: tuple[str | int | bytes, ...] = (script.sha, len(keys), *keys, *arguments)
        try:
            return list(await self._command("EVALSHA", *call))
        except NoScriptError:  # a store that was restarted, or never saw it
            await self._command("SCRIPT LOAD", script.source)
            return list(await self._command("EVALSHA", *call))

    async def _command(self, *words: str | int | bytes) -> Any:
        return await self._client.execute_command(*words)  # type: ignore[no-untyped-call]

    async def _guarded(self, call: Callable[[], Awaitable[T]], keys: Sequence[CellKey] = ()) -> T:
        if not self._breaker.allow():
            wait_s = self._breaker.retry_in_s
            raise StoreUnavailableError(f"store {self.url} did not answer; trying again in {wait_s:.1f} s")
        try:
            async with asyncio.timeout(self._settings.call_timeout_s):
                result = await call()
        except ResponseError as error:
            refusal = str(error)
            if refusal.startswith(_VERSION_ERROR):
                self._breaker.record_success()
                raise self._version_error(refusal, keys) from None
            self._breaker.record_failure()
            if isinstance(error, ReadOnlyError) or "READONLY" in refusal:
                # Demoted: the URL may name another server by now, and only a new connection finds out.
                await self._client.connection_pool.disconnect(inuse_connections=False)
            raise StoreUnavailableError(f"store {self.url} refuses: {error}") from error
        except (RedisError, OSError) as error:
            self._breaker.record_failure()
            problem = str(error) or f"no answer within {self._settings.call_timeout_s} s"
            raise StoreUnavailableError(f"store {self.url}: {problem}") from error
        self._breaker.record_success()
        return result

    def _version_error(self, refusal: str, keys: Sequence[CellKey]) -> RecordVersionError:
        _, positions, problem = refusal.split(" ", 2)
        refused = frozenset(keys[int(position)] for position in positions.split(","))
        names = ", ".join(sorted(map(self._names.cell, refused)))
        return RecordVersionError(
            f"store {self.url}: {problem} (in {names}); a different version wrote it, or it is damaged",
            refused,
        )
