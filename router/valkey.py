"""The embedded store: a Valkey server of our own, started and stopped with the service."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from router.valkey_process import (
    SOCKET_NAME,
    EmbeddedValkeyError,
    answers,
    bundled_binary,
    launched,
    remade_runtime_dir,
    short_runtime_dir,
)

__all__ = ["EmbeddedValkey", "EmbeddedValkeyError"]

_log = logging.getLogger(__name__)

_POLL_S = 0.02
_LOCK_WAIT_S = 2.0


class EmbeddedValkey:
    """A Valkey server on a unix socket only its user can reach, its data kept in `data_dir` between runs.

    Start it from a thread that lives as long as the server shall (the main thread): on Linux the server is
    tied to the life of the thread that started it. It gets a session of its own, so Ctrl-C does not reach it
    before the service has flushed.

    Writes reach the disk within a second (append-only file), so a crash loses at most that.

    With `join`, a directory that another process's server uses is no error: its server is used as long as it
    runs, and `revive` takes over at the same address when it has ended. So a router can come up before the
    one that it replaces has gone.
    """

    def __init__(
        self,
        data_dir: Path | str,
        *,
        binary: Path | str | None = None,
        join: bool = False,
        start_timeout_s: float = 15.0,
        stop_timeout_s: float = 5.0,
    ) -> None:
        self._data_dir = Path(data_dir).expanduser().resolve()
        self._binary = binary
        self._join = join
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._runtime_dir: Path | None = None
        self._guest = False
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where the running server listens, for RedisStore.

        Raises:
            EmbeddedValkeyError: It is not running.
        """
        return f"unix://{quote(str(self._socket_path))}"

    @property
    def pid(self) -> int | None:
        """The server's process id while it was started here and not stopped."""
        return None if self._process is None else self._process.pid

    @property
    def log_path(self) -> Path:
        """What the server said in this run."""
        return self._data_dir / "valkey.log"

    def start(self) -> None:
        """Start the server, or join another's, and return when it answers, its data loaded.

        Raises:
            EmbeddedValkeyError: Another server uses the directory, or this one does not come up.
        """
        if self._runtime_dir is not None:
            return
        binary = str(self._binary or bundled_binary())
        try:
            self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = self._lock(_LOCK_WAIT_S)
        except OSError as error:
            raise EmbeddedValkeyError(f"cannot keep statistics in {self._data_dir}: {error}") from error
        if lock is None:
            return
        try:
            self._clear_runtime_of_killed_run()
            self._runtime_dir = short_runtime_dir()
            self._runtime_note.write_text(str(self._runtime_dir), "utf-8")
            self._process = self._launched(binary, lock)
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        finally:
            os.close(lock)

    def revive(self) -> bool:
        """Start the server anew where it has ended by itself, at the same address; whether it had.

        Returns at once: the server answers when it has read its data. Call it from the thread of `start`.

        Raises:
            EmbeddedValkeyError: It cannot be started.
        """
        if self._runtime_dir is None or (self._process is not None and self._process.poll() is None):
            return False
        try:
            # The lock is taken while a server runs: another process's, which this one has joined.
            if (lock := self._lock(0.0)) is None:
                self._process, self._guest = None, True
                return False
        except OSError as error:
            raise EmbeddedValkeyError(f"cannot keep statistics in {self._data_dir}: {error}") from error
        try:
            remade_runtime_dir(self._runtime_dir)
            self._process = self._launched(str(self._binary or bundled_binary()), lock)
            self._guest = False
        except OSError as error:
            raise EmbeddedValkeyError(f"the embedded Valkey does not start: {error}") from error
        finally:
            os.close(lock)
        return True

    def check_free(self) -> None:
        """Raise EmbeddedValkeyError where another server uses the directory, or it cannot be written."""
        try:
            self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            if (lock := self._lock(_LOCK_WAIT_S)) is not None:
                os.close(lock)
        except OSError as error:
            raise EmbeddedValkeyError(f"cannot keep statistics in {self._data_dir}: {error}") from error

    def stop(self) -> None:
        """Let the server save and end; kill it when it takes too long. Harmless when it is not running.

        A server that was joined goes on.
        """
        process, self._process = self._process, None
        runtime_dir, self._runtime_dir = self._runtime_dir, None
        if runtime_dir is not None and not self._guest:
            # Before the lock is free: who joined makes the directory anew then, and must not lose it again.
            shutil.rmtree(runtime_dir, ignore_errors=True)
        self._guest = False
        if process is None:
            return
        process.terminate()
        try:
            process.wait(self._stop_timeout_s)
        except subprocess.TimeoutExpired:
            _log.warning("the embedded Valkey did not end in %.0f s: killed", self._stop_timeout_s)
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _launched(self, binary: str, lock: int) -> subprocess.Popen[bytes]:
        return launched(binary, self._data_dir, self._socket_path, lock, self.log_path)

    @property
    def _socket_path(self) -> Path:
        if self._runtime_dir is None:
            raise EmbeddedValkeyError("the embedded Valkey is not running")
        return self._runtime_dir / SOCKET_NAME

    @property
    def _runtime_note(self) -> Path:
        return self._data_dir / "runtime-directory"

    def _clear_runtime_of_killed_run(self) -> None:
        # Removes nothing but a socket and an empty directory, whatever the note says.
        with suppress(OSError, ValueError):
            runtime_dir = Path(self._runtime_note.read_text("utf-8"))
            (runtime_dir / SOCKET_NAME).unlink(missing_ok=True)
            runtime_dir.rmdir()

    def _lock(self, wait_s: float) -> int | None:
        """The lock on the data, None where another's server was joined instead."""
        descriptor = os.open(self._data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # The server of a service that was killed a moment ago may still be saving.
        deadline_s = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if self._joined():
                    os.close(descriptor)
                    return None
                if time.monotonic() < deadline_s:
                    time.sleep(_POLL_S)
                    continue
                os.close(descriptor)
                raise EmbeddedValkeyError(
                    f"another specroute uses {self._data_dir}: stop it, or give this one another folder"
                ) from None
            return descriptor

    def _joined(self) -> bool:
        """Whether this one may use the server that has the lock, and that server answers."""
        if not self._join:
            return False
        try:
            runtime_dir = Path(self._runtime_note.read_text("utf-8"))
        except (OSError, ValueError):
            return False
        if self._runtime_dir is not None:  # the clients of this one know no other address
            return True
        if not answers(runtime_dir / SOCKET_NAME):
            return False
        self._runtime_dir, self._guest = runtime_dir, True
        return True

    def _wait_until_ready(self) -> None:
        deadline_s = time.monotonic() + self._start_timeout_s
        while time.monotonic() < deadline_s:
            if self._process is None or self._process.poll() is not None:
                raise EmbeddedValkeyError(f"the embedded Valkey ended at once: {self._last_words()}")
            if answers(self._socket_path):
                return
            time.sleep(_POLL_S)
        raise EmbeddedValkeyError(
            f"the embedded Valkey was not ready in {self._start_timeout_s:.0f} s: {self._last_words()}"
        )

    def _last_words(self) -> str:
        lines = self.log_path.read_text("utf-8", "replace").strip().splitlines()
        return f"{lines[-1].strip() if lines else 'it said nothing'} (log: {self.log_path})"
