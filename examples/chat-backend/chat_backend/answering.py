"""Answers under way: one per session, stopped on request or when nobody listens, saved however they end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal
from uuid import uuid4

from chat_backend.conversation import Conversation, Turn, TurnState, messages, remembered
from chat_backend.settings import Settings
from chat_backend.store import Store
from chat_backend.upstream import Event, Made, NoAnswerError, Upstream, Waiting

_log = logging.getLogger(__name__)

KEEP_ALIVE_S: Final = 15.0
"""Proxies close connections on which nothing comes."""


@dataclass(frozen=True)
class End:
    """The last event: the turn as it was saved, or nothing where no text came."""

    state: TurnState | Literal["unanswered"]
    conversation: str | None
    turn: Turn | None
    message: str | None = None

    def as_json(self) -> dict[str, Any]:
        """For the browser."""
        return asdict(self)


class BusyError(Exception):
    """No answer can be started now; the message says why."""


class Answer:
    """One answer under way. It is made by a task of its own, which ends as soon as nobody wants it."""

    def __init__(self, question: str, conversation: str | None) -> None:
        self.question = question
        self.conversation = conversation
        # Without a bound of its own: an answer has at most max_answer_tokens pieces.
        self.events: asyncio.Queue[Event | End] = asyncio.Queue()
        self.task: asyncio.Task[End] | None = None
        self._is_settled = False

    def stop(self) -> None:
        """End it here. What was said so far is saved."""
        if self.task is not None and not self._is_settled:
            self.settle()
            self.task.cancel()

    def settle(self) -> None:
        """From here on it cannot be stopped: nothing may interrupt the saving."""
        self._is_settled = True

    async def follow(self) -> AsyncGenerator[Event | End | None, None]:
        """The events up to the end; None from time to time while there are none."""
        while True:
            try:
                async with asyncio.timeout(KEEP_ALIVE_S):
                    event = await self.events.get()
            except TimeoutError:
                yield None
                continue
            yield event
            if isinstance(event, End):
                return


class Answering:
    """All answers under way."""

    def __init__(self, store: Store, upstream: Upstream, settings: Settings) -> None:
        self._store = store
        self._upstream = upstream
        self._settings = settings
        self._under_way: dict[str, Answer] = {}

    def is_answering(self, session: str) -> bool:
        """Whether an answer for this session is under way."""
        return session in self._under_way

    def start(self, session: str, conversation: str | None, question: str) -> Answer:
        """Begin to answer, in the conversation of this id; None begins one.

        Raises:
            BusyError: The session's last answer is not finished, or there are too many of others.
        """
        if session in self._under_way:
            raise BusyError("An answer is still being written: stop it first.")
        if len(self._under_way) >= self._settings.max_answers_at_once:
            raise BusyError("Too many people are asking at once. Try again in a moment.")
        answer = Answer(question, conversation)
        self._under_way[session] = answer
        answer.task = asyncio.create_task(self._work(session, answer))
        answer.task.add_done_callback(lambda task: self._done(session, answer, task))
        return answer

    async def stop(self, session: str) -> None:
        """Stop the session's answer, and return when it is saved."""
        if (answer := self._under_way.get(session)) is not None and answer.task is not None:
            answer.stop()
            await asyncio.wait([answer.task])

    async def close(self) -> None:
        """Stop all of them."""
        for session in list(self._under_way):
            await self.stop(session)

    async def _work(self, session: str, answer: Answer) -> End:
        try:
            return await self._answered(session, answer)
        except Exception:  # noqa: BLE001 -- whatever it is (the disk may be full), its reader is told
            _log.exception("an answer was not saved")
            return End(
                "unanswered", answer.conversation, None, "This chat can save nothing now. Try again later."
            )

    def _done(self, session: str, answer: Answer, task: asyncio.Task[End]) -> None:
        """The next question may come; only then is its reader told that this one is answered."""
        del self._under_way[session]
        # Cancelled is one that was stopped before it began.
        end = End("unanswered", answer.conversation, None) if task.cancelled() else task.result()
        answer.events.put_nowait(end)

    async def _answered(self, session: str, answer: Answer) -> End:
        conversation = await self._store.conversation(session)
        # A page that never heard of an empty one may go on with it: its first answer was lost on the way.
        meant = conversation.id if conversation and (answer.conversation or conversation.turns) else None
        if meant != answer.conversation:
            text = "This page does not show the conversation as it is now: reload it."
            return End("unanswered", answer.conversation, None, text)
        if conversation is None:
            conversation = await self._store.start(session)
        if len(conversation.turns) >= self._settings.max_turns:
            return End("unanswered", conversation.id, None, "This conversation is full: start a new one.")
        return await self._asked(conversation, answer)

    async def _asked(self, conversation: Conversation, answer: Answer) -> End:
        """Ask, pass on what comes, and save what came."""
        deadline = asyncio.get_running_loop().time() + self._settings.deadline_s
        said: list[str] = []
        details: dict[str, Any] = {}
        state: TurnState = "complete"
        message = None
        turns = remembered(conversation.turns, self._settings.max_history_chars)
        asked = messages(self._settings.system_prompt, turns, answer.question)
        try:
            async with (
                asyncio.timeout_at(deadline),
                aclosing(self._upstream.answer(asked, request_id=uuid4().hex, deadline=deadline)) as events,
            ):
                async for event in events:
                    match event:
                        case Made():
                            details |= event.details
                        case Waiting():
                            answer.events.put_nowait(event)
                        case _:
                            said.append(event.text)
                            answer.events.put_nowait(event)
        except NoAnswerError as error:
            state, message = "broken", str(error)
        except TimeoutError:
            state, message = "broken", "The answer took too long."
        except asyncio.CancelledError:
            state = "stopped"
        except Exception:  # noqa: BLE001 -- whatever it is (a server of another kind), what was said is kept
            _log.exception("an answer failed")
            state, message = "broken", "Something went wrong here. Try again."
        answer.settle()
        if not said:
            # Without an answer the question is not kept either: the chat templates of many models refuse two
            # questions in a row. The page puts it back into the box.
            if state == "complete":
                message = "The model said nothing. Ask in other words."
            return End("unanswered", conversation.id, None, message)
        turn = Turn(answer.question, "".join(said), state, details)
        await self._store.add(conversation, turn)
        return End(state, conversation.id, turn, message)
