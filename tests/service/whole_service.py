"""`specroute serve` as a user starts it, for the tests of the whole service."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import openai

MODEL = "smollm2-135m-instruct"
POLICY = """\
apiVersion: specroute/v1
kind: RoutingPolicy
metadata: {name: tests}
spec:
  mode: adaptive
  allow_overrides: true
  threshold: {enable_above: 0.30, disable_below: 0.20}
"""
_READY_S = 400


class Service:
    """A `specroute serve` on real engines, with a policy file and a data folder of its own in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.policy = folder / "policy.yaml"
        self.policy.write_text(POLICY, encoding="utf-8")
        self._folder = folder
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self) -> float:
        """Start, and wait until it is ready; the seconds that took."""
        log = self._folder / f"serve-{time.monotonic_ns()}.log"
        program = str(Path(sys.executable).with_name("specroute"))
        command = [program, "serve", "--port", str(self._port), "--policy", str(self.policy)]
        environment = os.environ | {
            "SPECROUTE_DATA_DIR": str(self._folder / "data"),
            "SPECROUTE_EXIT_WITH_PARENT": "1",
        }
        started = time.monotonic()
        with log.open("wb") as output:
            self._process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        while "specroute is ready" not in (said := log.read_text(encoding="utf-8")):
            assert self._process.poll() is None, said
            assert time.monotonic() - started < _READY_S, said
            time.sleep(0.2)
        seconds = time.monotonic() - started
        while not all(pool["available"] for pool in self.admin("replicas")["pools"]):
            time.sleep(0.1)
        return seconds

    def stop(self) -> None:
        """Stop it as Ctrl-C would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            assert self._process.wait(60) == 0

    def client(self, **headers: str) -> openai.OpenAI:
        """The official client, with headers of ours."""
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key="none", default_headers=headers, max_retries=0
        )

    def chat(self, content: str, *, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
        """One greedy chat completion."""
        body = {"model": MODEL, "messages": [{"role": "user", "content": content}], "temperature": 0} | fields
        return httpx.post(f"{self.url}/v1/chat/completions", json=body, headers=headers, timeout=120)

    def admin(self, path: str) -> Any:
        """An answer of the admin API."""
        return httpx.get(f"{self.url}/admin/v1/{path}", timeout=10).json()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
