"""Answers of the chat backend in time: deadlines, silence, and being stopped at awkward moments."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from chat_backend.answering import Answer, Answering, BusyError, End
from chat_backend.conversation import Conversation, Turn
from chat_backend.settings import Settings
from chat_backend.store import Store
from chat_backend.upstream import Event, Piece, Upstream, Waiting
from chat_fakes import FakeSpecroute, says

pytestmark = pytest.mark.unit


class Memory:
    """A store without threads, which the skipping clock cannot see."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.saving = asyncio.Event()
        self.may_save = asyncio.Event()
        self.may_save.set()
        self.error: Exception | None = None

    async def conversation(self, _: str) -> Conversation:
        return Conversation("c", tuple(self.turns))

    async def add(self, _: Conversation, turn: Turn) -> None:
        self.saving.set()
        await self.may_save.wait()
        if self.error:
            raise self.error
        self.turns.append(turn)


def answering(fake: FakeSpecroute, store: Memory, **settings: Any) -> Answering:
    values = Settings(model="m", **settings)
    return Answering(cast("Store", store), Upstream(fake.client(values), values), values)


async def followed(answer: Answer) -> tuple[list[Any], End]:
    """All events, and the last one by itself."""
    events = [event async for event in answer.follow()]
    assert isinstance(events[-1], End)
    return events[:-1], events[-1]


class Silent:
    """Asks nobody, says something, and then nothing more for ever."""

    def __init__(self, *events: Event) -> None:
        self.events = events
        self.is_closed = False

    async def answer(self, _: object, *, request_id: str, deadline: float) -> AsyncIterator[Event]:
        try:
            for event in self.events:
                yield event
            await asyncio.Event().wait()
        finally:
            self.is_closed = True


def silence(upstream: Silent, store: Memory, **settings: Any) -> Answering:
    # OpenAI's client asks a thread what system this is, so it cannot stand behind the skipping clock.
    values = Settings(model="m", **settings)
    return Answering(cast("Store", store), cast("Upstream", upstream), values)


@pytest.mark.usefixtures("skipping")
async def test_the_deadline_ends_an_answer() -> None:
    """What came until then is kept, and the connection closed."""
    upstream, store = Silent(Waiting(1), Piece("Hel")), Memory()
    events, end = await followed(silence(upstream, store, deadline_s=7).start("ann", "c", "One?"))
    assert events == [Waiting(1), Piece("Hel")]
    assert end.state == "broken"
    assert "too long" in (end.message or "")
    assert [(turn.answer, turn.state) for turn in store.turns] == [("Hel", "broken")]
    assert upstream.is_closed


@pytest.mark.usefixtures("skipping")
async def test_silence_is_filled() -> None:
    """Proxies see that the stream lives; where nothing came at all, the question is given back."""
    events, end = await followed(silence(Silent(), Memory(), deadline_s=40).start("ann", "c", "One?"))
    assert events == [None, None]
    assert (end.state, end.turn) == ("unanswered", None)
    assert end.message


async def test_whoever_stops_at_once_is_not_busy_for_ever() -> None:
    """Also before anything was asked."""
    fake = FakeSpecroute(says("Hello"))
    desk = answering(fake, Memory())
    answer = desk.start("ann", "c", "One?")
    with pytest.raises(BusyError):
        desk.start("ann", "c", "Two?")
    answer.stop()
    assert await followed(answer) == ([], End("unanswered", "c", None))
    assert not desk.is_answering("ann")
    assert fake.bodies == []
    _, end = await followed(desk.start("ann", "c", "Two?"))
    assert end.state == "complete"


async def test_nothing_interrupts_the_saving() -> None:
    """Who leaves while it is saved finds it saved."""
    store = Memory()
    store.may_save.clear()
    desk = answering(FakeSpecroute(says("Hello")), store)
    answer = desk.start("ann", "c", "One?")
    await store.saving.wait()
    stopping = asyncio.create_task(desk.stop("ann"))
    answer.stop()
    store.may_save.set()
    await stopping
    assert [turn.state for turn in store.turns] == ["complete"]


async def test_what_cannot_be_saved_is_told() -> None:
    """The disk may be full; the next question is taken."""
    store = Memory()
    store.error = OSError("full")
    desk = answering(FakeSpecroute(says("Hello"), says("Again")), store)
    _, end = await followed(desk.start("ann", "c", "One?"))
    assert "save" in (end.message or "")
    store.error = None
    _, end = await followed(desk.start("ann", "c", "Two?"))
    assert end.state == "complete"
