"""`specroute serve` with fake engines as a child process, and what is left of it afterwards."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
from openai import OpenAI
from ports import free_port
from waiting import ANSWER_S, until

SPECROUTE = Path(sys.executable).with_name("specroute")
MODEL = "smollm2-135m-instruct"
RUN = "SPECROUTE_RUN"
START_S = 900.0
"""Ten seconds with fake engines and 40 with real ones, on an idle machine with two cores."""
STARTS = 4
RAY_GAVE_UP = "The current node timed out during startup"
"""Ray's raylet has half a minute to start, which cannot be changed; on a very busy machine it takes longer."""
END_S = 240.0
"""A few seconds, usually."""
STORE_MS = 3000
"""The time limit of calls to the store: 50 ms, where nothing else runs on the machine."""
PATIENTLY = ("--wait", "120")
"""What `specroute policy` is told where it waits for all routers."""


def policy(name: str, **spec: Any) -> str:
    """A policy file whose deadline no busy machine reaches; JSON is YAML."""
    return json.dumps(
        {
            "apiVersion": "specroute/v1",
            "kind": "RoutingPolicy",
            "metadata": {"name": name},
            "spec": {
                "mode": "threshold",
                "allow_overrides": True,
                "limits": {"deadline": "900s"},
                **spec,
            },
        }
    )


def write_config(folder: Path, port: int, **args: Any) -> Path:
    """A deployment of two fake pools that lets clients name their tenant."""
    settings = {"fake_engines": {"step_ms": 2, "prefill_ms": 1}, "tenancy": {"trusted_header": True}, **args}
    file = folder / "serve.yaml"
    file.write_text(
        json.dumps(
            {
                "http_options": {"host": "127.0.0.1", "port": port},
                "applications": [{"name": "specroute", "import_path": "router.app:build", "args": settings}],
            }
        )
    )
    return file


class Service:
    """One running `specroute serve`, with variables of its own beside those of this process.

    `parent` is a program that starts it, in the place of this process.
    """

    def __init__(
        self,
        folder: Path,
        *,
        parent: str | None = None,
        variables: Mapping[str, str] | None = None,
        **args: Any,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._stderr = folder / "stderr.txt"
        command = [str(SPECROUTE), "serve", "--config", str(write_config(folder, self.port, **args))]
        if parent is not None:
            command = [sys.executable, "-c", parent, *command]
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SPECROUTE_"))
        }
        # A killed test run must not leave services behind.
        environment |= {"SPECROUTE_DATA_DIR": str(folder / "data"), "SPECROUTE_EXIT_WITH_PARENT": "1"}
        environment |= variables or {}
        self._launch = partial(subprocess.Popen, command, env=environment, cwd=folder, start_new_session=True)
        self.mark, self.run_folder = "", Path()
        self._start()

    def _start(self) -> None:
        with self._stderr.open("wb") as stderr:
            self.process: subprocess.Popen[bytes] = self._launch(stderr=stderr)

    @property
    def stderr(self) -> str:
        return self._stderr.read_text(errors="replace")

    def wait_until_ready(self) -> "Service":
        """Return once the service says so; fails with what it said when it ends before."""
        try:
            for _ in range(STARTS):
                self._wait_until_ready_or_ended()
                if self.process.poll() is None or RAY_GAVE_UP not in self.stderr:
                    break
                self._start()
            assert self.process.poll() is None, self.stderr
        except BaseException:
            self.end(signal.SIGTERM)
            raise
        environment = next(found for child in self._descendants() if RUN in (found := _environment(child)))
        self.mark, self.run_folder = environment[RUN], Path(environment["SPECROUTE_LOG_DIR"]).parent
        return self

    def _wait_until_ready_or_ended(self) -> None:
        try:
            until(lambda: "specroute is ready" in self.stderr or self.process.poll() is not None, START_S)
        except AssertionError as late:
            raise AssertionError(f"{late}: {self.stderr}") from None

    def end(self, signum: signal.Signals, *, group: bool = False) -> None:
        """Send a signal, to the whole process group as a terminal does, and wait for the end."""
        if self.process.poll() is None:
            with suppress(ProcessLookupError):
                (os.killpg if group else os.kill)(self.process.pid, signum)
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def remains(self) -> list[str]:
        """The command lines of processes of this run, and its folder while that is there."""
        assert self.mark
        found = [_command(process) for process in self.processes()]
        return found + [str(self.run_folder)] * self.run_folder.exists()

    def processes(self) -> list[psutil.Process]:
        """The living processes that carry this run's mark."""
        return [
            process
            for process in psutil.process_iter()
            if process.pid != os.getpid() and _environment(process).get(RUN) == self.mark
        ]

    def client(self) -> OpenAI:
        """The official client, which does not hide failures by trying again."""
        return OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=ANSWER_S)

    def get(self, path: str) -> Any:
        """The JSON of a GET."""
        return httpx.get(f"{self.url}{path}", timeout=ANSWER_S).raise_for_status().json()

    def answers(self) -> bool:
        """Whether a small completion works."""
        body = {"model": MODEL, "prompt": "hello", "max_tokens": 2}
        return httpx.post(f"{self.url}/v1/completions", json=body, timeout=ANSWER_S).status_code == 200

    def _descendants(self) -> Iterator[psutil.Process]:
        yield from psutil.Process(self.process.pid).children(recursive=True)


@contextmanager
def running(folder: Path, text: str = "", **args: Any) -> Iterator[Service]:
    """A service while it is ready, with a policy file of this text in `folder`, if there is one."""
    if text:
        file = folder / "policy.yaml"
        file.write_text(text)
        args["policy"] = {"path": str(file)}
    service = Service(folder / "service", **args)
    try:
        yield service.wait_until_ready()
    finally:
        service.end(signal.SIGINT, group=True)


def _command(process: psutil.Process) -> str:
    """Of a process that may be ending meanwhile."""
    try:
        return " ".join(process.cmdline())[:100] or "?"
    except psutil.Error:
        return "?"


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return {} if process.status() == psutil.STATUS_ZOMBIE else process.environ()
    except psutil.Error:
        return {}
