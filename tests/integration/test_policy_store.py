"""Policy versions in a real Valkey; the fake behaves alike."""

from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import pytest
from redis import Redis

from router.fake_policy_store import FakePolicyStore
from router.policy_lineage import FileLine
from router.policy_protocol import (
    KEPT_VERSIONS,
    Place,
    PolicyChange,
    PolicyRecordError,
    PolicyStore,
    PolicyVersion,
    RouterReport,
)
from router.policy_store import RedisPolicyStore
from router.store import RedisStore, StoreSettings
from router.valkey import EmbeddedValkey

pytestmark = pytest.mark.integration

REPORT = RouterReport("a", 3, "0123456789ab", 1, rejects=False)
FILES = FileLine(("0123456789ab", "preset"), 7)


def version(number: int, revision: str = "0123456789ab", **change: object) -> PolicyVersion:
    text = f"name: é {revision}\r\n".encode()
    values = {"name": "n", "revision": revision, "text": text, "origin": "put", **change}
    return PolicyVersion(Place("line", number), PolicyChange(**values), FILES)  # type: ignore[arg-type]


@pytest.fixture
def model() -> str:
    return f"org/{uuid4().hex}"


@pytest.fixture
def raw(valkey: EmbeddedValkey) -> Redis:
    return Redis.from_url(valkey.url, decode_responses=True)


@pytest.fixture
async def real(valkey: EmbeddedValkey, model: str, patient: StoreSettings) -> AsyncIterator[RedisPolicyStore]:
    connection = RedisStore(valkey.url, model, settings=patient)
    yield RedisPolicyStore(connection, model)
    await connection.close()


@pytest.fixture(params=["fake", "valkey"])
def store(request: pytest.FixtureRequest) -> PolicyStore:
    return FakePolicyStore() if request.param == "fake" else request.getfixturevalue("real")


async def test_an_empty_store(store: PolicyStore) -> None:
    """There is nothing to read, and whoever reports is alone."""
    assert await store.read() is None
    assert (await store.announce(REPORT)) == (None, 0, 0)
    assert (list(await store.history()), await store.text("0123456789ab")) == ([], None)


async def test_a_version_comes_back_as_it_was_written(store: PolicyStore) -> None:
    """Byte by byte, with everything that is told about it."""
    told: dict[str, object] = {
        "source": "/etc/p y.yaml",
        "author": "änn",
        "note": 'a "b"\n',
        "at_s": 1.7e9 + 0.1,
    }
    written = replace(version(1, **told), place=Place("line", 1, "of its own"))
    assert await store.publish(written, None)
    assert await store.read() == written
    ((past),) = await store.history()
    assert (past.version, past.author, past.note, past.at) == (1, "änn", 'a "b"\n', 1.7e9 + 0.1)


async def test_publishing_is_a_compare_and_set(store: PolicyStore) -> None:
    """On line and number; what is refused changes nothing."""
    assert not await store.publish(version(2), Place("line", 1))
    assert await store.publish(version(1), None)
    assert not await store.publish(version(2), None)
    assert not await store.publish(version(2), Place("other", 1))
    assert not await store.publish(version(2), Place("line", 2))
    assert not await store.publish(version(2), Place("line", 1, "another"))
    assert [past.version for past in await store.history()] == [1]
    assert await store.publish(version(2), Place("line", 1))
    assert (await store.announce(REPORT)).place == Place("line", 2)


async def test_the_last_versions_are_kept(store: PolicyStore) -> None:
    """Newest first; a text leaves with the last version that has it."""
    place = None
    for number in range(1, KEPT_VERSIONS + 6):
        revision = "f" * 12 if number in {3, 12} else f"{number:012d}"
        assert await store.publish(version(number, revision), place)
        place = Place("line", number)
    assert [past.version for past in await store.history()] == list(range(KEPT_VERSIONS + 5, 5, -1))
    assert await store.text("0" * 11 + "5") is None
    assert await store.text("0" * 11 + "6") == version(6, "0" * 11 + "6").change.text
    assert await store.text("f" * 12) is not None


async def test_routers_hear_of_each_other(store: PolicyStore) -> None:
    """How many there are, and how many see the file published last; who leaves is gone."""
    await store.publish(version(1), None)
    assert await store.announce(REPORT) == (Place("line", 1), 0, 0)
    other = RouterReport("b", None, "ba9876543210", 7, rejects=True)
    assert await store.announce(other) == (Place("line", 1), 1, 0)
    assert await store.announce(REPORT) == (Place("line", 1), 1, 1)
    assert [report for report, _ in await store.routers()] == [REPORT, other]
    await store.leave("b")
    assert [report for report, _ in await store.routers()] == [REPORT]
    assert (await store.announce(REPORT)).others == 0


# What only the real one has.


async def test_silent_routers_are_forgotten(real: RedisPolicyStore, raw: Redis) -> None:
    """After ten seconds they do not count, after a minute they leave; garbage leaves at once."""
    await real.announce(REPORT)
    (key,) = raw.keys(f"*{real._routers}")
    now_s = int(raw.time()[0])
    told = raw.hget(key, "a").partition(" ")[2]
    raw.hset(key, mapping={"silent": f"{now_s - 20} {told}", "gone": f"{now_s - 99} {told}", "bad": "x"})
    raw.hset(key, "ahead", f"{now_s + 99} {told}")
    assert (await real.announce(REPORT)).others == 0
    assert set(raw.hkeys(key)) == {"a", "silent"}
    assert len(await real.routers()) == 1
    assert raw.ttl(key) > 0


async def test_nothing_of_the_policy_expires(real: RedisPolicyStore, raw: Redis) -> None:
    """Neither the version in force nor the ones before it."""
    await real.publish(version(1), None)
    assert {raw.ttl(key) for key in (real._policy, real._history, real._texts)} == {-1}


@pytest.mark.parametrize("damage", ["layout", "no layout", "type"])
async def test_another_layout_is_refused_not_overwritten(
    real: RedisPolicyStore, raw: Redis, damage: str
) -> None:
    """A later release wrote it: every call says so and leaves it as it is."""
    await real.publish(version(1), None)
    if damage == "layout":
        raw.hset(real._policy, "v", "2")
    elif damage == "no layout":
        raw.hdel(real._policy, "v")
    else:
        raw.set(real._policy, "text")
    before = raw.dump(real._policy) if damage != "type" else None
    with pytest.raises(PolicyRecordError, match="layout"):
        await real.announce(REPORT)
    for expected in (None, Place("line", 1)):
        with pytest.raises(PolicyRecordError, match="different version of specroute"):
            await real.publish(version(2), expected)
    assert before == (raw.dump(real._policy) if damage != "type" else None)


async def test_a_damaged_version_is_told(real: RedisPolicyStore, raw: Redis) -> None:
    """A field that is missing, or is no number."""
    await real.publish(version(1), None)
    raw.hset(real._policy, "file_number", "many")
    with pytest.raises(PolicyRecordError, match="damaged"):
        await real.read()
    raw.hdel(real._policy, "text")
    with pytest.raises(PolicyRecordError, match="damaged"):
        await real.read()
    raw.hset(real._policy, "n", "many")
    with pytest.raises(PolicyRecordError, match="damaged: its number is b'many'"):
        await real.announce(REPORT)


async def test_entries_of_later_releases_are_passed_over(real: RedisPolicyStore, raw: Redis) -> None:
    """Of the history and of the routers what can be read is listed; new fields do not disturb."""
    await real.publish(version(1), None)
    entry = raw.lrange(real._history, 0, -1)[0]
    raw.lpush(real._history, "x not json", entry[:-1] + ', "later": 1}', 'y {"version": 1}')
    assert [past.version for past in await real.history()] == [1, 1]
    raw.hset(real._routers, "z", f'{raw.time()[0]} 1 {{"id": "z"}}')
    assert await real.routers() == []
