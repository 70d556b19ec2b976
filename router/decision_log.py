"""The decision log: sampled JSON Lines in files that rotate, written by a thread of its own.

Requests never wait for it. An outcome that is to be logged goes into a bounded queue; where the queue is
full, because the disk is slow, it is dropped and counted. A disk that is full or gone costs the lines it
cannot take, which are counted, and one line in the service's own log. No prompt or answer text is ever
written.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import threading
from contextlib import suppress
from dataclasses import replace
from hashlib import blake2b
from logging.handlers import RotatingFileHandler
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Final, NoReturn

from router.decision_entry import record
from router.file_owner import owned
from router.outcomes import Outcome
from router.settings import DecisionLogSettings

_log = logging.getLogger(__name__)

_WAITING: Final = 1000
"""Outcomes in the queue; they hold no bodies."""
_CLOSE_S: Final = 2.0
_KEY_BYTES: Final = 16


class DecisionLog:
    """Writes outcomes to a file of this router's own: `<name>-<host>-<number><suffix>` beside `path`.

    The number is the first that no other router of the host holds (by a lock on a file of its own), so a
    router that is started again goes on in its old file, and `keep` bounds what there is on a disk.
    """

    def __init__(
        self, path: Path, settings: DecisionLogSettings, *, key: bytes | None = None, waiting: int = _WAITING
    ) -> None:
        """`key` says which requests are sampled and makes names of conversations; by default it is random."""
        self._path = path
        self._settings = settings
        self._key = key or secrets.token_bytes(_KEY_BYTES)
        self._queue: Queue[Outcome | None] = Queue(waiting)
        self._thread = threading.Thread(target=self._write_all, name="decision-log", daemon=True)
        self._files = _Files(path, settings)
        self._failing = False
        self.written = 0
        """Lines on disk."""
        self.dropped = 0
        """Outcomes the queue had no room for."""
        self.failed = 0
        """Outcomes that could not be written."""

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def close(self) -> None:
        """Write what waits, as far as that is quick."""
        while self._thread.is_alive():
            try:
                self._queue.put_nowait(None)
                break
            except Full:
                with suppress(Empty):
                    self._queue.get_nowait()
                    self.dropped += 1
        if self._thread.is_alive():
            self._thread.join(_CLOSE_S)

    def counts(self) -> dict[str, int]:
        """What became of the sampled outcomes so far."""
        return {"written": self.written, "dropped": self.dropped, "failed": self.failed}

    def samples(self, request_id: str) -> bool:
        """Whether this request is logged: settled by its id and the key, so nobody can choose it."""
        digest = blake2b(request_id.encode("utf-8", "surrogatepass"), key=self._key, digest_size=8)
        return int.from_bytes(digest.digest(), "big") < self._settings.sample * 2**64

    def on_outcome(self, outcome: Outcome) -> None:
        """Log one outcome, if it is sampled. Never waits."""
        if not self.samples(outcome.request.request_id):
            return
        # A queue of bodies could be large; what is wanted of them is known already.
        request = replace(outcome.request, body=b"", fields={"stream": outcome.request.stream})
        try:
            self._queue.put_nowait(replace(outcome, request=request))
        except Full:
            self.dropped += 1

    def _write_all(self) -> None:
        while (outcome := self._queue.get()) is not None:
            try:
                self._write(outcome)
            except Exception as error:  # noqa: BLE001 - the log must not end for one line
                self.failed += 1
                if not self._failing:
                    self._failing = True
                    _log.error("decision log: %s; what cannot be written is counted, not kept", error)
            else:
                self.written += 1
                if self._failing:
                    self._failing = False
                    _log.warning("decision log: written again; %d lines are missing so far", self.failed)
        self._files.close()

    def _write(self, outcome: Outcome) -> None:
        self._files.open()
        line = record(outcome, router=self._files.owner, sample=self._settings.sample, digest=self._digest)
        self._files.write(json.dumps(line, separators=(",", ":"), allow_nan=False))

    def _digest(self, name: str) -> str:
        return blake2b(name.encode(), key=self._key, digest_size=8).hexdigest()


def opened_log(settings: DecisionLogSettings) -> DecisionLog | None:
    """The log of a deployment, None where it keeps none."""
    return None if settings.path is None else DecisionLog(Path(settings.path), settings)


class _Files:
    """The file that is written and the rotated ones beside it; opened anew after every failure."""

    def __init__(self, path: Path, settings: DecisionLogSettings) -> None:
        self._path = path
        self._settings = settings
        self._handler: _Handler | None = None
        self._lock: int | None = None
        self._torn = False
        self.owner = ""
        """The router's host, and its number there."""

    def open(self) -> None:
        """Take a file, unless there is one. Raises OSError."""
        if self._lock is None:
            self._lock, self.owner = owned(self._path)
        if self._handler is None:
            path = _named(self._path, self.owner)
            self._handler = _Handler(
                path, maxBytes=self._settings.max_bytes, backupCount=self._settings.keep, encoding="utf-8"
            )

    def write(self, line: str) -> None:
        """Append a line. Raises OSError; a half line it leaves behind is ended before the next one."""
        assert self._handler is not None  # noqa: S101 - `open` comes first
        try:
            self._handler.emit(logging.makeLogRecord({"msg": f"\n{line}" if self._torn else line}))
            self._torn = False
        except Exception:
            self._torn = True
            handler, self._handler = self._handler, None
            with suppress(OSError, ValueError):
                handler.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        with suppress(OSError, ValueError):
            if self._handler is not None:
                self._handler.close()
        if self._lock is not None:
            os.close(self._lock)
        self._handler = self._lock = None


class _Handler(RotatingFileHandler):
    """Rotates by size; unlike its parent it does not swallow errors."""

    def handleError(self, record: logging.LogRecord) -> NoReturn:  # noqa: ARG002, N802 - the parent's
        """Raise what `emit` met."""
        raise  # noqa: PLE0704 - called from an except clause


def _named(path: Path, owner: str) -> Path:
    return path.with_name(f"{path.stem}-{owner}{path.suffix}")
