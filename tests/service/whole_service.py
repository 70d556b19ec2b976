"""`specroute serve` as a user starts it, for the tests of the whole service."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import openai
from ports import free_port
from waiting import ANSWER_S, until

MODEL = "smollm2-135m-instruct"
POLICY = """\
apiVersion: specroute/v1
kind: RoutingPolicy
metadata: {name: tests}
spec:
  mode: adaptive
  allow_overrides: true
  threshold: {enable_above: 0.30, disable_below: 0.20}
  acceptance: {half_life: 24h}
  limits: {deadline: 900s}
"""
_READY_S = 1200


class Service:
    """A `specroute serve` on real engines, with a policy file and a data folder of its own in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.policy = folder / "policy.yaml"
        self.policy.write_text(POLICY, encoding="utf-8")
        self._folder = folder
        self._port = free_port()
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
        process = self._process
        until(
            lambda: "specroute is ready" in log.read_text("utf-8", "replace") or process.poll() is not None,
            _READY_S,
        )
        assert process.poll() is None, log.read_text("utf-8", "replace")
        seconds = time.monotonic() - started
        until(lambda: all(pool["available"] for pool in self.admin("replicas")["pools"]), _READY_S)
        return seconds

    def stop(self) -> None:
        """Stop it as Ctrl-C would."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            assert self._process.wait(300) == 0

    def client(self, **headers: str) -> openai.OpenAI:
        """The official client, with headers of ours."""
        return openai.OpenAI(
            base_url=f"{self.url}/v1",
            api_key="none",
            default_headers=headers,
            max_retries=0,
            timeout=ANSWER_S,
        )

    def chat(self, content: str, *, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
        """One greedy chat completion."""
        body = {"model": MODEL, "messages": [{"role": "user", "content": content}], "temperature": 0} | fields
        return httpx.post(f"{self.url}/v1/chat/completions", json=body, headers=headers, timeout=ANSWER_S)

    def admin(self, path: str) -> Any:
        """An answer of the admin API."""
        return httpx.get(f"{self.url}/admin/v1/{path}", timeout=ANSWER_S).raise_for_status().json()
