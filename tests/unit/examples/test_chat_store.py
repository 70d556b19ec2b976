"""The chat backend's conversations on disk."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from chat_backend.conversation import Conversation, Turn
from chat_backend.store import Store

pytestmark = pytest.mark.unit

TURN = Turn("<script>", "\0 😀 'quoted'; --", "stopped", {"route": "vanilla"})


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(tmp_path: Path, clock: Clock) -> Callable[[], Store]:
    return lambda: Store(tmp_path / "chat.sqlite3", keep_s=100, max_conversations=3, clock=clock)


@pytest.fixture
async def store(opened: Callable[[], Store]) -> AsyncIterator[Store]:
    store = opened()
    yield store
    await store.close()


async def test_turns_come_back_in_order_after_a_restart(opened: Callable[[], Store]) -> None:
    """Every character of them, and what is known of them."""
    store = opened()
    conversation = await store.start("ann")
    await store.add(conversation, TURN)
    await store.add(conversation, Turn("second", "answer"))
    await store.close()
    store = opened()
    assert await store.conversation("ann") == Conversation(conversation.id, (TURN, Turn("second", "answer")))
    await store.close()


async def test_sessions_see_their_own_conversation_only(store: Store) -> None:
    """And nothing before there is one."""
    await store.add(await store.start("ann"), TURN)
    assert await store.conversation("bob") is None
    await store.start("bob")
    found = await store.conversation("bob")
    assert found is not None
    assert found.turns == ()


async def test_a_new_conversation_deletes_the_last_one(store: Store, tmp_path: Path) -> None:
    """Its turns with it; what is still said in it goes nowhere."""
    first = await store.start("ann")
    await store.add(first, TURN)
    second = await store.start("ann")
    await store.add(first, TURN)
    assert await store.conversation("ann") == second
    with sqlite3.connect(tmp_path / "chat.sqlite3") as database:
        assert database.execute("SELECT count(*) FROM turns").fetchone() == (0,)


async def test_unused_conversations_are_forgotten(store: Store, clock: Clock, tmp_path: Path) -> None:
    """Not shown from then on, and deleted when somebody begins another; use keeps them."""
    await store.start("ann")
    kept = await store.start("bob")
    clock.now += 60
    await store.add(kept, TURN)
    clock.now += 60
    assert await store.conversation("ann") is None
    assert await store.conversation("bob") is not None
    await store.start("eve")
    with sqlite3.connect(tmp_path / "chat.sqlite3") as database:
        found = database.execute("SELECT session FROM conversations ORDER BY session").fetchall()
    assert found == [("bob",), ("eve",)]


async def test_there_are_no_more_than_so_many(store: Store, clock: Clock) -> None:
    """The longest unused goes first."""
    for session in ("ann", "bob", "eve", "joe"):
        clock.now += 1
        await store.start(session)
    assert await store.conversation("ann") is None
    assert await store.conversation("bob") is not None


async def test_a_store_that_cannot_be_opened_says_so_every_time(tmp_path: Path) -> None:
    """And is tried again."""
    store = Store(tmp_path / "missing" / "chat.sqlite3", keep_s=1, max_conversations=1)
    for _ in range(2):
        with pytest.raises(sqlite3.OperationalError):
            await store.conversation("ann")
    (tmp_path / "missing").mkdir()
    assert await store.conversation("ann") is None
    await store.close()
