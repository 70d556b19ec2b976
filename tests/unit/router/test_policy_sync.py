"""Routers that share a policy: whatever happens, they end with the same one, and it is the newest."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from fakes import Clock, policy_text
from policy_routers import PolicyRouter

from policies.loading import PolicyError
from router.fake_policy_store import FakePolicyStore
from router.policy_changes import Signature
from router.policy_file import default_policy
from router.policy_lineage import FileLine
from router.policy_protocol import NoPolicyError, Place, PolicyChange, PolicyVersion, StalePolicyError
from router.stats_protocol import StoreUnavailableError

pytestmark = pytest.mark.unit

Starter = Callable[..., Awaitable[PolicyRouter]]


@pytest.fixture
def timer() -> Clock:
    return Clock(1000.0)


@pytest.fixture
def store(timer: Clock) -> FakePolicyStore:
    return FakePolicyStore(timer)


@pytest.fixture
def start(tmp_path: Path, store: FakePolicyStore, timer: Clock) -> Starter:
    async def started(folder: str, **options: object) -> PolicyRouter:
        return await PolicyRouter(tmp_path / folder, store, timer, **options).started()  # type: ignore[arg-type]

    return started


def names(store: FakePolicyStore) -> list[str]:
    """The names of the stored versions, oldest first."""
    return [version.change.name for version in reversed(store._versions)]


async def test_the_first_router_publishes_its_file(start: Starter, store: FakePolicyStore) -> None:
    """The first one with that file makes version 1; others find it there."""
    a, b = await start("a"), await start("b")
    assert (a.source.state.version, b.source.state.version) == (1, 1)
    assert a.source.label == b.source.label
    assert names(store) == ["first"]
    assert a.source.state.source == str(a.file)


async def test_what_is_put_on_one_router_is_in_force_on_all(start: Starter) -> None:
    """At once on the one, on the others with their next round, with origin, author and note."""
    a, b = await start("a"), await start("b")
    assert await a.put("put") == "put"
    assert b.name == "first"
    assert await b.round() == "put"
    state = b.source.state
    assert (state.version, state.origin, state.author, state.note) == (2, "put", "ann", "why")
    assert state == a.source.state


async def test_a_put_survives_a_restart(start: Starter) -> None:
    """A router whose file was published already begins with what was put since."""
    a = await start("a")
    await a.put("put")
    assert (await start("a")).name == "put"
    assert (await start("b")).name == "put"


async def test_a_file_changed_while_no_router_ran_is_news(start: Starter, store: FakePolicyStore) -> None:
    """At the start the file is published, over what was put before."""
    await (await start("a")).put("put")
    assert (await start("a", text=policy_text("second"))).name == "second"
    assert names(store) == ["first", "put", "second"]


@pytest.mark.parametrize("alone", [False, True])
async def test_an_operator_alone_goes_back_to_an_older_file(start: Starter, alone: bool) -> None:
    """With no other router to know better, the file at the start is what the operator wants."""
    for name in ("first", "second", "first"):
        router = await start("a", text=policy_text(name), alone=alone)
        assert router.name == name
        await router.sync.close()


async def test_files_that_change_one_after_the_other_do_not_flap(
    start: Starter, store: FakePolicyStore
) -> None:
    """The first router to see a change publishes it; those that see it later, or go back with it, do not."""
    a, b = await start("a"), await start("b")
    for name in ("second", "first", "second", "third", "first"):
        assert await a.edit(name) == name
        assert await b.round() == name
        await b.round()
    for name in ("second", "first", "second", "third", "first"):
        assert await b.edit(name) == "first"
        assert await a.round() == "first"
    assert names(store) == ["first", "second", "first", "second", "third", "first"]


async def test_a_router_that_starts_with_an_old_mount_does_not_publish_it(
    start: Starter, store: FakePolicyStore
) -> None:
    """It takes what the others have, and follows its file once that changes to something new."""
    a = await start("a")
    await a.edit("second")
    b = await start("b", text=policy_text("first"))
    assert b.name == "second"
    assert [await a.round(), await b.round()] == ["second", "second"]
    assert await b.edit("second") == "second"
    assert names(store) == ["first", "second"]
    assert await b.edit("first") == "first"
    assert await a.round() == "first"


async def test_a_file_that_no_router_sees_any_more_gives_way(start: Starter, timer: Clock) -> None:
    """A rollout that is undone leaves routers with the older file; it is in force after a while."""
    old = await start("old")
    new = await start("new", text=policy_text("second"))
    assert await old.round() == "second"
    timer.now_s += 1000.0
    await new.round()
    assert await old.round() == "second"
    await new.sync.close()
    assert await old.round() == "second"
    timer.now_s += 50.0
    assert await old.round() == "second"
    timer.now_s += 60.0
    assert await old.round() == "first"


async def test_without_the_store_a_file_acts_alone_and_is_published_later(
    start: Starter, store: FakePolicyStore
) -> None:
    """Every router follows its own file; afterwards there is one version of it, not one a router."""
    a, b = await start("a"), await start("b")
    await a.put("put")
    await b.round()
    store.down = True
    assert await a.edit("second") == "second"
    assert (a.source.state.version, a.source.state.origin) == (None, "file")
    assert b.name == "put"
    assert await b.edit("second") == "second"
    with pytest.raises(StoreUnavailableError):
        await a.put("other")
    store.down = False
    assert [await a.round(), await b.round(), await a.round()] == ["second"] * 3
    assert names(store) == ["first", "put", "second"]
    assert a.source.state.version == b.source.state.version == 3


async def test_a_file_that_goes_back_during_an_outage_leaves_what_was_shared(
    start: Starter, store: FakePolicyStore
) -> None:
    """The file is what it was when the policy was put, so that policy is in force again."""
    a = await start("a")
    await a.put("put")
    store.down = True
    assert await a.edit("second") == "second"
    assert await a.edit("first") == "put"
    store.down = False
    assert await a.round() == "put"
    assert names(store) == ["first", "put"]


async def test_a_store_that_is_away_at_the_start(
    tmp_path: Path, store: FakePolicyStore, timer: Clock
) -> None:
    """The file is in force until the store tells what was put before."""
    first = await PolicyRouter(tmp_path / "a", store, timer).started()
    await first.put("put")
    store.down = True
    late = await PolicyRouter(tmp_path / "b", store, timer).started()
    assert (late.name, late.sync.store_up) == ("first", False)
    store.down = False
    assert await late.round() == "put"
    assert late.sync.store_up


async def test_a_flushed_store_gets_the_policy_back(start: Starter, store: FakePolicyStore) -> None:
    """Also one that was put, and the line of files with it; the next change goes on from there."""
    a, b = await start("a"), await start("b")
    await a.put("put")
    await b.round()
    store.wipe()
    assert [await a.round(), await b.round(), await a.round()] == ["put"] * 3
    assert names(store) == ["put"]
    assert a.source.state == b.source.state
    assert (await start("c")).name == "put"
    assert await b.edit("second") == "second"
    assert await a.round() == "second"


async def test_a_store_restarted_from_an_older_state_gets_the_policy_back(
    start: Starter, store: FakePolicyStore
) -> None:
    """What was in force stays, also where another router is the first to see the older state."""
    a, b = await start("a"), await start("b")
    older = store.current
    await a.put("put")
    await b.round()
    store.current = older
    assert [await b.round(), await a.round(), await b.round()] == ["put"] * 3


async def test_of_concurrent_changes_one_wins(start: Starter) -> None:
    """Both named the same revision; the other one is told what there is now."""
    a, b = await start("a"), await start("b")
    revision = a.source.state.revision
    assert await b.put("b", lambda current: current == revision) == "b"
    with pytest.raises(StalePolicyError) as stale:
        await a.put("a", lambda current: current == revision)
    assert stale.value.current.change.name == "b"
    assert a.name == "b"


async def test_a_change_that_is_overtaken_in_the_store_is_decided_again(
    start: Starter, store: FakePolicyStore
) -> None:
    """Between looking and writing another router published: a condition is checked anew, a force repeated."""
    a = await start("a")
    revision = a.source.state.revision

    def overtaken() -> None:
        assert store.current is not None
        change = PolicyChange("c", "0123456789ab", policy_text("c").encode(), "put")
        place = Place(store.current.place.line, store.current.place.number + 1)
        store.put(PolicyVersion(place, change, store.current.files))

    store.meanwhile = overtaken
    with pytest.raises(StalePolicyError):
        await a.put("a", lambda current: current == revision)
    assert a.name == "c"
    store.meanwhile = overtaken
    assert await a.put("a") == "a"
    store.meanwhile = overtaken
    assert await a.edit("file") == "file"
    assert names(store) == ["first", "c", "c", "a", "c", "file"]


async def test_a_change_whose_answer_was_lost_is_in_force(start: Starter, store: FakePolicyStore) -> None:
    """Whoever asked is told that it is unsure; asking again changes nothing more."""
    a = await start("a")
    store.lose_replies = 1
    with pytest.raises(StoreUnavailableError):
        await a.put("put")
    assert await a.round() == "put"
    assert await a.put("put", lambda _: False) == "put"
    store.lose_replies = 1
    assert await a.edit("second") == "second"
    assert await a.round() == "second"
    assert names(store) == ["first", "put", "second"]


async def test_a_version_this_router_cannot_use_changes_nothing(
    start: Starter, store: FakePolicyStore
) -> None:
    """A later release wrote it: the last good one stays in force, and the next good one ends the complaint."""
    a = await start("a")
    text = policy_text("later", mode="telepathic").encode()
    files = FileLine((a.source.state.revision,), 1)
    assert store.current is not None
    later = PolicyVersion(
        Place(store.current.place.line, 2), PolicyChange("later", "0" * 12, text, "put"), files
    )
    store.put(later)
    for _ in range(3):
        assert await a.round() == "first"
    rejected = a.source.state.rejected or ""
    assert "version 2" in rejected
    assert "telepathic" in rejected
    ((report, _),) = await store.routers()
    assert (report.version, report.rejects) == (1, True)
    b = await start("b")
    assert (b.name, b.source.state.version) == ("first", None)
    assert await a.put("good") == "good"
    assert a.source.state.rejected is None


async def test_a_policy_of_another_layout_is_left_alone(start: Starter, store: FakePolicyStore) -> None:
    """Nothing is written over it; file changes act on this router, and the complaint names the reason."""
    a = await start("a")
    store.foreign = True
    assert await a.round() == "first"
    assert "layout" in (a.source.state.rejected or "")
    assert await a.edit("second") == "second"
    store.foreign = False
    assert await a.round() == "second"
    assert a.source.state.rejected is None


async def test_a_broken_file_does_not_keep_a_router_from_starting(
    start: Starter, store: FakePolicyStore
) -> None:
    """The store's policy is in force; with nothing there either, the start fails and says why."""
    with pytest.raises(NoPolicyError, match="mood"):
        await start("a", text=policy_text("broken", mood="bad"))
    await start("b")
    late = await start("c", text=policy_text("broken", mood="bad"))
    assert late.name == "first"
    assert "mood" in (late.source.state.rejected or "")
    assert await late.edit("mended") == "mended"
    assert late.source.state.rejected is None
    assert names(store) == ["first", "mended"]


async def test_a_broken_text_is_not_published(start: Starter, store: FakePolicyStore) -> None:
    """Neither of a file nor of an operator."""
    a = await start("a")
    a.file.write_text("mode: x")
    assert await a.round() == "first"
    with pytest.raises(PolicyError):
        await a.changes.check(b"mode: x")
    assert names(store) == ["first"]


async def test_the_built_in_policy_is_each_releases_own(start: Starter, store: FakePolicyStore) -> None:
    """It is shared by name: a router takes its own text, and what was put stays over an upgrade."""
    a = await start("a", text=None)
    assert a.source.state.origin == "preset"
    assert store.current is not None
    change = PolicyChange("default", "0" * 12, b"of an older release", "preset")
    store.put(PolicyVersion(Place(store.current.place.line, 2), change, store.current.files))
    await a.round()
    assert (a.source.state.text, a.source.state.version) == (default_policy(), 2)
    await a.put("put")
    assert (await start("b", text=None)).name == "put"


async def test_rolling_back(start: Starter) -> None:
    """To the version before, to a revision of the history, and not to what was never there."""
    a, b = await start("a"), await start("b")
    first = a.source.state.revision
    await a.put("second")
    await a.put("third")
    roll_back = a.changes.roll_back
    version = await roll_back(None, lambda _: True, Signature())
    assert (a.name, version.change.origin, version.place.number) == ("second", "rollback", 4)
    await roll_back(None, lambda _: True, Signature())
    assert a.name == "third"
    await roll_back(first, lambda _: True, Signature())
    assert await b.round() == "first"
    with pytest.raises(StalePolicyError):
        await roll_back(None, lambda _: False, Signature())
    with pytest.raises(LookupError, match=first):
        await roll_back("0" * 12, lambda _: True, Signature())


async def test_nothing_to_roll_back_to(start: Starter) -> None:
    """The first version has none before it."""
    a = await start("a")
    with pytest.raises(LookupError, match="no version before"):
        await a.changes.roll_back(None, lambda _: True, Signature())


async def test_a_loop_that_outlives_everything(
    tmp_path: Path, store: FakePolicyStore, timer: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected failure is logged, and the next round works."""
    a = await PolicyRouter(tmp_path / "a", store, timer).started()
    rounds = iter([None, None])

    async def sleep(_: float) -> None:
        if next(rounds, "end") == "end":
            raise KeyboardInterrupt
        timer.now_s += 1.0

    a.sync._sleep = sleep
    reading = store.read
    a.file.write_text(policy_text("second"))

    async def broken(_: object) -> None:
        store.announce = announce  # type: ignore[method-assign]
        raise ZeroDivisionError

    announce, store.announce = store.announce, broken  # type: ignore[method-assign,assignment]
    with pytest.raises(KeyboardInterrupt):
        await a.sync.run()
    assert reading
    assert "ZeroDivisionError" in caplog.text
    assert a.name == "second"
