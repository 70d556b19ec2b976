"""A service of the demo's own: `specroute serve` as a child, with nothing learned yet, gone at the end."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from policies.loading import PolicyError, parse_policy
from router.policy_source import default_policy
from router.serving.config import ServeConfig
from router.serving.launcher import EXIT_WITH_PARENT_VARIABLE
from router.serving.screen import READY
from router.settings import DATA_VARIABLE

_STOP_S = 45.0
_BAD_INPUT = 2
_SERVE = "from router.cli import main; main()"


class ServerError(Exception):
    """The service did not start; `exit_code` is that of its command, or what its command would end with."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@contextmanager
def own_server(config: Path | None, loaded: ServeConfig, tell: Callable[[str], None]) -> Iterator[str]:
    """Start a service and give its URL; `tell` gets the lines of its start-up. Stopped however this ends.

    `loaded` is the content of `config`. Call from the main thread: the service ends with the thread that
    started it, should this process be killed.

    Raises:
        ServerError: It ended before it was ready.
    """
    with tempfile.TemporaryDirectory(prefix="specroute-demo-") as folder:
        policy = Path(folder) / "policy.yaml"
        policy.write_text(demo_policy(_policy_text(loaded)), encoding="utf-8")
        port = _free_port()
        command = [sys.executable, "-P", "-c", _SERVE, "serve", "--policy", str(policy)]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        if config is not None:
            command += ["--config", str(config.absolute())]
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, **_environment(Path(folder) / "data")},
            start_new_session=True,  # Ctrl-C is ours to pass on: it may still be answering
        )
        try:
            _follow_start(child, tell)
            yield f"http://127.0.0.1:{port}"
        finally:
            _stop(child)


def demo_policy(text: str | bytes) -> str:
    """The policy of the demo's own service: `text`, but requests may choose vanilla, to compare with."""
    document: dict[str, Any] = yaml.safe_load(text)
    document["metadata"] = {**document.get("metadata", {}), "name": "demo"}
    document["spec"] = {**(document.get("spec") or {}), "allow_overrides": True}
    return yaml.safe_dump(document, sort_keys=False)


def _policy_text(loaded: ServeConfig) -> str | bytes:
    """The deployment's policy, or the default one. Raises ServerError where it cannot be used."""
    path = loaded.settings.policy.path
    if path is None:
        return default_policy()
    try:
        text = Path(path).read_bytes()
        parse_policy(text, path)
    except OSError as error:
        raise ServerError(f"policy.path: {path}: {error.strerror or error}", _BAD_INPUT) from None
    except PolicyError as error:
        raise ServerError("; ".join(str(error).splitlines()), _BAD_INPUT) from None
    return text


def _environment(data: Path) -> Mapping[str, str]:
    return {DATA_VARIABLE: str(data), EXIT_WITH_PARENT_VARIABLE: "1", "PYTHONUNBUFFERED": "1"}


def _follow_start(child: subprocess.Popen[str], tell: Callable[[str], None]) -> None:
    """Pass on what the child prints until it is ready; whatever comes after is read and dropped."""
    if child.stderr is None:
        raise TypeError("the child's standard error is no pipe")
    for line in child.stderr:
        if READY in line:
            tell(line.strip())
            threading.Thread(target=_drain, args=(child.stderr,), daemon=True).start()
            return
        tell(line.rstrip())
    code = child.wait()
    raise ServerError("the service did not start: see above", code if code > 0 else 1)


def _drain(stream: io.TextIOBase | Any) -> None:
    """Read to the end: a full pipe would stop the child."""
    for _ in stream:
        pass


def _stop(child: subprocess.Popen[str]) -> None:
    """End the child in order, or after a while anyhow; a second Ctrl-C must not leave it behind."""
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()  # its warden ends whatever it started
            child.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
