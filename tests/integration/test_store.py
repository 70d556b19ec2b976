import asyncio
import logging
import math
import time
import traceback
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from redis import Redis

from policies.cells import CellDelta, CellKey
from router.fake_store import FakeStore
from router.stats_protocol import (
    FlushId,
    RecordVersionError,
    StatsStore,
    StoreUnavailableError,
    StoreUrlError,
)
from router.store import RedisStore, StoreSettings, redacted_url
from router.store_records import KeyNames
from router.valkey import EmbeddedValkey

pytestmark = pytest.mark.integration

T0 = 1_700_000_000.0
HALF_LIFE_S = 600.0
CODE = CellKey("ngram", "code", "low")
QA = CellKey("ngram", "qa", "high", "a:b}{c")


def delta(steps: float = 1.0, requests: int = 1) -> CellDelta:
    return CellDelta(HALF_LIFE_S, {"steps:4": steps}, {"requests": requests})


@pytest.fixture
def model() -> str:
    return f"org/{uuid4().hex}"


@pytest.fixture
def raw(valkey: EmbeddedValkey) -> Redis:
    return Redis.from_url(valkey.url, decode_responses=True)


@pytest.fixture
async def redis_store(
    valkey: EmbeddedValkey, model: str, patient: StoreSettings
) -> AsyncIterator[RedisStore]:
    store = RedisStore(valkey.url, model, settings=patient)
    yield store
    await store.close()


@pytest.fixture(params=["fake", "valkey"])
def store(request: pytest.FixtureRequest) -> StatsStore:
    if request.param == "fake":
        return FakeStore(clock=time.time)
    return request.getfixturevalue("redis_store")


# The contract of StatsStore: the fake and the real one alike.


async def test_additions_decay_and_sum(store: StatsStore) -> None:
    """Counters halve every half-life, lifetime totals only grow, exactly."""
    await store.add(FlushId("a", 1), T0, {CODE: delta(8.0, 2**53 - 10)})
    records = await store.add(FlushId("a", 2), T0 + 1200, {CODE: delta(0.1, 9), QA: delta()})
    assert records[CODE].counters["steps:4"] == pytest.approx(2.1, rel=1e-15)
    assert records[CODE].lifetime["requests"] == 2**53 - 1
    assert (records[CODE].updated_at_s, records[CODE].epoch) == (T0 + 1200, 0)
    assert records[QA].counters == {"steps:4": 1.0}


async def test_routers_whose_flushes_cross_add_up_to_one_stream(store: StatsStore) -> None:
    """A late flush counts what it would have counted in time, and a record never goes back."""
    times = [T0 + 40, T0, T0 + 900.5, T0 + 300, T0 + 899]
    for number, at_s in enumerate(times):
        records = await store.add(FlushId(f"router{number % 2}", number + 1), at_s, {CODE: delta(3.0)})
    expected = sum(3.0 * 2 ** (-(T0 + 900.5 - at_s) / HALF_LIFE_S) for at_s in times)
    assert records[CODE].counters["steps:4"] == pytest.approx(expected, rel=1e-14)
    assert records[CODE].updated_at_s == T0 + 900.5


async def test_a_repeated_flush_adds_nothing(store: StatsStore) -> None:
    """A retry, and a copy that arrives after later flushes, answer with the record as it stands."""
    await store.add(FlushId("a", 1), T0, {CODE: delta()})
    again = await store.add(FlushId("a", 1), T0, {CODE: delta()})
    assert again[CODE].lifetime["requests"] == 1
    await store.add(FlushId("a", 2), T0, {CODE: delta()})
    await store.add(FlushId("b", 1), T0, {CODE: delta()})
    late = await store.add(FlushId("a", 1), T0, {CODE: delta()})
    assert late[CODE].lifetime["requests"] == 3


async def test_a_clock_far_ahead_does_not_age_the_evidence_of_others(store: StatsStore) -> None:
    """Times in the store's future are not believed."""
    now_s = time.time()
    await store.add(FlushId("a", 1), now_s, {CODE: delta(8.0)})
    records = await store.add(FlushId("b", 1), now_s + 86400, {CODE: delta(8.0)})
    assert records[CODE].counters["steps:4"] == pytest.approx(16.0, rel=0.1)
    assert records[CODE].updated_at_s < now_s + 60


async def test_changes_are_read_in_pages_and_only_once(store: StatsStore) -> None:
    """A reader gets everything at first, then only what was written since."""
    empty = await store.changed_since(None)
    assert (dict(empty.records), empty.cursor, empty.from_start, empty.more) == ({}, None, True, False)
    keys = [CellKey("draft", f"task{number}", "mid") for number in range(600)]
    await store.add(FlushId("a", 1), T0, dict.fromkeys(keys, delta()))
    seen, cursor, more, starts = [], None, True, []
    while more:
        changes = await store.changed_since(cursor)
        seen += changes.records
        starts.append(changes.from_start)
        cursor, more = changes.cursor, changes.more
    assert sorted(seen) == sorted(keys)
    assert starts == [True, False, False, False, False]
    await store.add(FlushId("a", 2), T0 + 1, {keys[7]: delta()})
    changes = await store.changed_since(cursor)
    assert {key: record.lifetime["requests"] for key, record in changes.records.items()} == {keys[7]: 2}
    assert not changes.from_start
    assert not (await store.changed_since(changes.cursor)).records


async def test_forgetting_is_a_compare_and_set_on_the_epoch(store: StatsStore) -> None:
    """Of two routers that saw the same drift one cuts, and lifetime totals stay."""
    assert await store.forget(CODE, 0, 0.25) == (await store.forget(CODE, 0, 0.25))
    await store.add(FlushId("a", 1), T0, {CODE: delta(8.0, 5)})
    cursor = (await store.changed_since(None)).cursor
    first, second = await asyncio.gather(store.forget(CODE, 0, 0.25), store.forget(CODE, 0, 0.25))
    assert sorted([first.applied, second.applied]) == [False, True]
    for answer in (first, second):
        assert answer.record is not None
        assert (answer.record.counters["steps:4"], answer.record.epoch) == (2.0, 1)
        assert answer.record.lifetime["requests"] == 5
    assert set((await store.changed_since(cursor)).records) == {CODE}
    records = await store.add(FlushId("a", 2), T0, {CODE: delta(1.0)})
    assert (records[CODE].counters["steps:4"], records[CODE].epoch) == (3.0, 1)


async def test_what_cannot_be_written_is_refused_whole(store: StatsStore) -> None:
    """A delta with a NaN raises before anything is added."""
    with pytest.raises(ValueError, match="finite"):
        await store.add(FlushId("a", 1), T0, {QA: delta(), CODE: delta(math.nan)})
    assert not (await store.changed_since(None)).records


# What only the real one has.


async def test_keys_and_fields_are_as_published_and_expire(
    redis_store: RedisStore, raw: Redis, model: str
) -> None:
    """Names, fields and time to live of everything written; special characters break out of nothing."""
    await redis_store.add(FlushId("a", 1), T0, {CODE: delta(0.1), QA: delta()})
    prefix = f"specroute:{{{model}}}:v1:"
    assert set(raw.scan_iter(f"specroute:{{{model}}}*", count=10_000)) == {
        prefix + "accept:ngram:code:low",
        prefix + "accept:ngram:qa:high:tenant:a%3Ab%7D%7Bc",
        prefix + "changed",
        prefix + "sequence",
        prefix + "flush:a",
    }
    assert raw.hgetall(prefix + "accept:ngram:code:low") == {
        "v": "1",
        "t": "1700000000",
        "e": "0",
        "c:steps:4": "0.10000000000000001",
        "l:requests": "1",
    }
    for key in raw.scan_iter(prefix.replace("{", "[{]") + "*", count=10_000):
        assert 30 * 86400 - 60 < raw.ttl(key) <= 30 * 86400


async def test_garbage_in_a_record_poisons_nothing(
    redis_store: RedisStore, raw: Redis, model: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Fields that are no numbers are ignored, reported once and gone with the next write."""
    key = KeyNames(model).cell(CODE)
    await redis_store.add(FlushId("a", 1), T0, {CODE: delta(4.0)})
    raw.hset(key, mapping={"c:x": "1e999", "c:y": "nan", "l:requests": "many", "c:z": "0 1", "later": "?"})
    for _ in range(2):
        record = (await redis_store.changed_since(None)).records[CODE]
        assert (record.counters, record.lifetime) == ({"steps:4": 4.0}, {})
    assert redis_store.garbage_fields == 8
    assert len(caplog.records) == 1
    record = (await redis_store.add(FlushId("a", 2), T0, {CODE: delta()}))[CODE]
    assert (record.counters, record.lifetime) == ({"steps:4": 5.0}, {"requests": 1})
    assert set(raw.hkeys(key)) == {"v", "t", "e", "c:steps:4", "l:requests", "later"}


async def test_a_damaged_sequence_is_told(redis_store: RedisStore, raw: Redis, model: str) -> None:
    """Readers hear of a store that cannot be used, and go on without it."""
    await redis_store.add(FlushId("a", 1), T0, {CODE: delta()})
    raw.hset(KeyNames(model).sequence, "n", "many")
    with pytest.raises(StoreUnavailableError, match="damaged: its number is b'many'"):
        await redis_store.changed_since(None)


@pytest.mark.parametrize("damage", ["version", "no version", "type"])
async def test_records_of_another_version_are_refused_not_misread(
    redis_store: RedisStore, raw: Redis, model: str, damage: str
) -> None:
    """The error names the record, nothing of the flush is added, and readers pass the record over."""
    key = KeyNames(model).cell(CODE)
    await redis_store.add(FlushId("a", 1), T0, {CODE: delta(), QA: delta()})
    if damage == "version":
        raw.hset(key, "v", "2")
    elif damage == "no version":
        raw.hdel(key, "v")
    else:
        raw.set(key, "text")
    with pytest.raises(RecordVersionError, match="accept:ngram:code:low") as refusal:
        await redis_store.add(FlushId("a", 2), T0, {QA: delta(), CODE: delta()})
    assert refusal.value.keys == {CODE}
    with pytest.raises(RecordVersionError):
        await redis_store.forget(CODE, 0, 0.5)
    records = (await redis_store.changed_since(None)).records
    assert {cell: record.lifetime["requests"] for cell, record in records.items()} == {QA: 1}
    assert (await redis_store.add(FlushId("a", 2), T0, {QA: delta()}))[QA].lifetime["requests"] == 2


async def test_expired_cells_leave_the_index(redis_store: RedisStore, raw: Redis, model: str) -> None:
    """A cell that is gone is not told any more, and its name does not stay behind."""
    await redis_store.add(FlushId("a", 1), T0, {CODE: delta(), QA: delta()})
    raw.delete(KeyNames(model).cell(CODE))
    assert set((await redis_store.changed_since(None)).records) == {QA}
    assert raw.zrange(KeyNames(model).changed, 0, -1) == [KeyNames(model).cell(QA)]


async def test_scripts_survive_being_forgotten(redis_store: RedisStore, raw: Redis) -> None:
    """A server that lost its scripts is given them again."""
    await redis_store.add(FlushId("a", 1), T0, {CODE: delta()})
    raw.script_flush()
    assert (await redis_store.add(FlushId("a", 2), T0, {CODE: delta()}))[CODE].lifetime["requests"] == 2


async def test_only_the_portable_commands_are_used(
    own_valkey: EmbeddedValkey, patient: StoreSettings
) -> None:
    """No SCAN, no KEYS, nothing newer than Redis 6.2."""
    raw = Redis.from_url(own_valkey.url)
    raw.ping()
    raw.config_resetstat()
    store = RedisStore(own_valkey.url, "m", settings=patient)
    await store.ping()
    await store.add(FlushId("a", 1), T0, {CODE: delta()})
    await store.changed_since((await store.changed_since(None)).cursor)
    await store.forget(CODE, 0, 0.5)
    await store.close()
    used = {name.removeprefix("cmdstat_") for name in raw.info("commandstats")}
    scripts_and_keys = {"evalsha", "script|load", "ping", "get", "set", "expire", "time"}
    hashes = {"hgetall", "hmget", "hset", "hsetnx", "hincrby", "hdel"}
    assert used <= scripts_and_keys | hashes | {"zadd", "zrem", "zrangebyscore", "config|resetstat"}


async def test_passwords_work_and_are_never_shown(
    own_valkey: EmbeddedValkey, patient: StoreSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """A password in the URL is used, and appears neither in errors nor in logs."""
    caplog.set_level(logging.DEBUG)
    raw = Redis.from_url(own_valkey.url)
    raw.config_set("requirepass", "s3cr:t/@x")
    right = own_valkey.url.replace("unix://", "valkey+unix://:s3cr%3At%2F%40x@")
    store = RedisStore(right, "m", settings=patient)
    await store.ping()
    await store.close()
    shown = [store.url, repr(store)]
    for url in (own_valkey.url.replace("unix://", "unix://:wr0ng@"), "redis://:wr0ng@127.0.0.1:1/0?db=1"):
        store = RedisStore(url, "m", settings=patient)
        with pytest.raises(StoreUnavailableError) as error:
            await store.ping()
        shown += traceback.format_exception(error.value)
        await store.close()
    for url in (
        "redis://:wr0ng#x@host",
        "redis://u:wr0ng@host:99999",
        "redis://:wr0ng@h?nonsense=1",
        "wr0ng",
    ):
        with pytest.raises(StoreUrlError) as url_error:
            RedisStore(url, "m")
        shown += traceback.format_exception(url_error.value, chain=True)
    text = "\n".join([*shown, caplog.text])
    code_lines = ("RedisStore(url", "for url in")
    text = "\n".join(line for line in text.splitlines() if not line.strip().startswith(code_lines))
    assert "wr0ng" not in text
    assert "s3cr" not in text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rediss://user:pw@host:6380/2?ssl_password=pw", "rediss://host:6380/2"),
        ("unix://:pw@/run/x.sock", "unix:///run/x.sock"),
        ("redis://:pw#w@host", "the given URL"),
        ("redis://host:pw", "the given URL"),
    ],
)
def test_urls_are_shown_without_secrets(url: str, shown: str) -> None:
    """Only scheme, host, port and path are left."""
    assert redacted_url(url).startswith(shown)
    assert "pw" not in redacted_url(url)


def test_tls_is_on_with_rediss() -> None:
    """rediss:// and valkeys:// verify certificates and keep our limits over the URL's."""
    for scheme in ("rediss", "valkeys"):
        store = RedisStore(f"{scheme}://:pw@host:6380/0?socket_timeout=99&decode_responses=yes", "m")
        connection = store._client.connection_pool.make_connection()
        assert type(connection).__name__ == "SSLConnection"
        assert connection.ssl_context.cert_reqs.name == "CERT_REQUIRED"
        assert connection.socket_timeout == 0.05
        assert connection.retry.get_retries() == 0
        assert not connection.encoder.decode_responses
