"""Runs `specroute serve` as a process of its own, with a configuration and a data folder of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import httpx

from bench.results import BenchError

START_S: Final = 900.0
"""Ten seconds with engines that pretend and 40 with real ones, where nothing else runs."""
REHEARSED_S: Final = 120.0
"""Half a minute on a quiet machine."""
_END_S: Final = 240.0
_POLL_S: Final = 0.1
_TAIL: Final = 1500


def free_port() -> int:
    """A port of this machine nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def policy(name: str, **spec: Any) -> dict[str, Any]:
    """A policy that turns nobody away: one tenant's many requests, and answers of a slow machine."""
    limits = {"deadline": "900s", "max_concurrency": 1024}
    return {
        "apiVersion": "specroute/v1",
        "kind": "RoutingPolicy",
        "metadata": {"name": name},
        "spec": {"allow_overrides": True, "limits": limits, **spec},
    }


def _client() -> httpx.Client:
    """One for all questions: to make one takes more time than a question, which a start would pay for."""
    return httpx.Client(timeout=5, trust_env=False)


class Serving:
    """One `specroute serve`. What it needs and says is in `folder`, where it finds it when started again."""

    def __init__(
        self,
        folder: Path,
        args: Mapping[str, Any],
        policy: Mapping[str, Any],
        *,
        program: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Nothing is started yet; `args` are those of the deployment, `program` the command to run.

        Another installation's `program` runs in `folder`: Ray's workers import what lies in the folder
        they were started from before what is installed, which would be this installation's code.
        """
        self._folder = folder.absolute()
        self._args = dict(args)
        self._policy = dict(policy)
        self._program = (program or Path(sys.executable).with_name("specroute")).absolute()
        self._cwd = self._folder if program is not None else None
        self._variables = dict(variables or {})
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens, once started."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the process that started all others of this service."""
        assert self._process is not None  # noqa: S101 - asked of a service that runs
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; returns at once."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "SPECROUTE_"))}
        environment = {
            **kept,
            **{k: v for k, v in os.environ.items() if k == "SPECROUTE_CACHE_DIR"},
            "SPECROUTE_DATA_DIR": str(self._folder / "data"),
            "SPECROUTE_EXIT_WITH_PARENT": "1",
            **self._variables,
        }
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [str(self._program), "serve", "--config", str(self._config())],
                env=environment,
                stdout=output,
                stderr=output,
                cwd=self._cwd,
                start_new_session=True,
            )

    def wait_until_ready(
        self, limit_s: float = START_S, *, sleep: Callable[[float], None] = time.sleep
    ) -> Serving:
        """Return once every pool can answer.

        Raises:
            BenchError: It ended, or was not ready in time; with what it last said.
        """
        deadline = time.monotonic() + limit_s
        with _client() as client:
            while time.monotonic() < deadline and self.running:
                if self.ready(client):
                    return self
                sleep(_POLL_S)
        said = " ".join(self._output.read_text(errors="replace")[-_TAIL:].split())
        self.end()
        raise BenchError(f"specroute serve did not become ready: {said}")

    def wait_until_rehearsed(
        self, limit_s: float = REHEARSED_S, *, sleep: Callable[[float], None] = time.sleep
    ) -> bool:
        """Return once every engine has timed its passes (docs/decisions/0027); whether it has."""
        deadline = time.monotonic() + limit_s
        with _client() as client:
            while time.monotonic() < deadline and self.running:
                try:
                    pools = client.get(f"{self.url}/admin/v1/replicas").json()["pools"]
                    if all(pool["status"]["rehearsed"] for pool in pools):
                        return True
                except (httpx.HTTPError, ValueError, LookupError, TypeError):
                    pass
                sleep(_POLL_S)
        return False

    def ready(self, client: httpx.Client) -> bool:
        """Whether it says that all its pools can answer."""
        try:
            if client.get(f"{self.url}/readyz").status_code != httpx.codes.OK:
                return False
            told = client.get(f"{self.url}/admin/v1/replicas").json()
            return all(pool["available"] for pool in told["pools"])
        except (httpx.HTTPError, ValueError, LookupError, TypeError):
            return False

    def end(self) -> None:
        """End it in order, by force where it takes too long; nothing where it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()  # its warden ends the others
            process.wait()

    @property
    def _output(self) -> Path:
        return self._folder / "output.txt"

    def _config(self) -> Path:
        """The files it is started with; JSON is YAML."""
        file = self._folder / "policy.yaml"
        file.write_text(json.dumps(self._policy))
        args = {**self._args, "policy": {"path": str(file)}, "http": {"open_admin": True}}
        application = {"name": "specroute", "import_path": "router.app:build", "args": args}
        http = {"host": "127.0.0.1", "port": self.port}
        config = self._folder / "serve.yaml"
        config.write_text(json.dumps({"http_options": http, "applications": [application]}))
        return config
