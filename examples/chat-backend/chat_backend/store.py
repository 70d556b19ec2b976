"""Conversations in a SQLite file: one per session, kept for some days, no more than a number of them.

For several replicas of this backend, write these four methods for the database that you run.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar
from uuid import uuid4

from chat_backend.conversation import Conversation, Turn, TurnState

_Result = TypeVar("_Result")

_SCHEMA: Final = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA foreign_keys = ON;
PRAGMA secure_delete = ON;
CREATE TABLE IF NOT EXISTS conversations (
    session TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, used_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS conversations_by_use ON conversations (used_at);
CREATE TABLE IF NOT EXISTS turns (
    conversation TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    number INTEGER NOT NULL, question TEXT NOT NULL, answer TEXT NOT NULL, state TEXT NOT NULL,
    details TEXT NOT NULL,
    PRIMARY KEY (conversation, number)
);
"""


class Store:
    """One connection in a thread of its own, so that the event loop never waits for the disk."""

    def __init__(
        self,
        path: Path,
        *,
        keep_s: float,
        max_conversations: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._keep_s = keep_s
        self._max_conversations = max_conversations
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._connection: sqlite3.Connection | None = None

    async def conversation(self, session: str) -> Conversation | None:
        """The session's conversation; None where it has none, or it was not used for too long.

        Raises:
            sqlite3.Error: The database does not answer.
        """
        return await self._run(lambda database: self._read(database, session))

    async def start(self, session: str) -> Conversation:
        """A new conversation in place of the session's last one, which is deleted with all outdated ones."""
        return await self._run(lambda database: self._start(database, session))

    async def add(self, conversation: Conversation, turn: Turn) -> None:
        """Add a turn to a conversation; to one that was deleted meanwhile, nothing is added."""
        await self._run(lambda database: self._add(database, conversation.id, turn))

    async def close(self) -> None:
        """Close the file, once everything is written."""
        if self._connection is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown()

    async def _run(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._work, work)

    def _work(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        if self._connection is None:
            connection = sqlite3.connect(self._path)
            connection.executescript(_SCHEMA)
            self._connection = connection
        with self._connection:  # one transaction
            return work(self._connection)

    def _read(self, database: sqlite3.Connection, session: str) -> Conversation | None:
        found = database.execute(
            "SELECT id FROM conversations WHERE session = ? AND used_at >= ?",
            (session, self._clock() - self._keep_s),
        ).fetchone()
        if found is None:
            return None
        rows = database.execute(
            "SELECT question, answer, state, details FROM turns WHERE conversation = ? ORDER BY number", found
        )
        return Conversation(found[0], tuple(_turn(*row) for row in rows))

    def _start(self, database: sqlite3.Connection, session: str) -> Conversation:
        database.execute(
            "DELETE FROM conversations WHERE session = ? OR used_at < ?",
            (session, self._clock() - self._keep_s),
        )
        conversation = Conversation(uuid4().hex)
        database.execute(
            "INSERT INTO conversations VALUES (?, ?, ?)", (session, conversation.id, self._clock())
        )
        database.execute(
            "DELETE FROM conversations WHERE session IN "
            "(SELECT session FROM conversations ORDER BY used_at DESC, rowid DESC LIMIT -1 OFFSET ?)",
            (self._max_conversations,),
        )
        return conversation

    def _add(self, database: sqlite3.Connection, conversation: str, turn: Turn) -> None:
        used = database.execute(
            "UPDATE conversations SET used_at = ? WHERE id = ?", (self._clock(), conversation)
        )
        if used.rowcount:
            database.execute(
                "INSERT INTO turns SELECT ?1, count(*), ?2, ?3, ?4, ?5 FROM turns WHERE conversation = ?1",
                (conversation, turn.question, turn.answer, turn.state, json.dumps(dict(turn.details))),
            )


def _turn(question: str, answer: str, state: TurnState, details: str) -> Turn:
    return Turn(question, answer, state, json.loads(details))
