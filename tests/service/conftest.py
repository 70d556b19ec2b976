"""The whole service on two real engines, started as a user starts it, and vLLM alone to compare it with."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from shapes import MODEL, PLAIN_ONLY, SHAPES

from replicas.hardware import available_cores, cpu_environment
from replicas.model_store import default_cache_dir, prepare
from replicas.profiles import Profile

_READY_S = 300

POLICY = """\
apiVersion: specroute/v1
kind: RoutingPolicy
metadata: {name: tests}
spec:
  allow_overrides: true
  threshold: {enable_above: 0.30, disable_below: 0.20}
"""


@dataclass
class Service:
    """A running `specroute serve`."""

    url: str
    policy: Path
    log: Path
    seconds_to_ready: float

    def client(self, **headers: str) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", default_headers=headers, max_retries=0)

    def chat(self, content: str, *, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
        body = {"model": MODEL, "messages": [{"role": "user", "content": content}], "temperature": 0} | fields
        return httpx.post(f"{self.url}/v1/chat/completions", json=body, headers=headers, timeout=120)

    def admin(self, path: str) -> Any:
        return httpx.get(f"{self.url}/admin/v1/{path}", timeout=10).json()


@contextmanager
def running_service(folder: Path, data: Path) -> Iterator[Service]:
    """Start `specroute serve` with its data in `data`; stop it as Ctrl-C would."""
    policy = folder / "policy.yaml"
    policy.write_text(POLICY, encoding="utf-8")
    log = folder / f"serve-{time.monotonic_ns()}.log"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("specroute")), "serve", "--port", str(port), "--policy", str(policy)]
    started = time.monotonic()
    environment = os.environ | {"SPECROUTE_DATA_DIR": str(data), "SPECROUTE_EXIT_WITH_PARENT": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        while "specroute is ready" not in log.read_text(encoding="utf-8"):
            assert process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() - started < _READY_S, log.read_text(encoding="utf-8")
            time.sleep(0.2)
        yield Service(f"http://127.0.0.1:{port}", policy, log, time.monotonic() - started)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="session")
def references(folder: Path) -> dict[str, dict[str, Any]]:
    """What vLLM alone answers to every shape: on a plain engine, and on one that always drafts."""
    model = prepare(default_cache_dir(), progress=lambda _stage, _fraction: None)
    everything = SHAPES | PLAIN_ONLY
    requests = folder / "requests.json"
    requests.write_text(json.dumps(list(everything.values())), encoding="utf-8")
    profiles = [Profile(name="vanilla"), Profile(name="ngram", method="ngram", k=8)]
    processes = []
    for number, profile in enumerate(profiles):
        cores = available_cores()
        core = cores[number % len(cores)]
        environment = os.environ | cpu_environment(profile, [core]) | {"HF_HUB_OFFLINE": "1"}
        # vLLM's own way of running a CPU worker.
        environment |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "1", "VLLM_CPU_OMP_THREADS_BIND": str(core)}
        arguments = [profile.model_dump_json(), str(model), str(requests), str(folder / f"{profile.name}.json")]
        with (folder / f"reference-{profile.name}.log").open("wb") as output:
            script = str(Path(__file__).with_name("reference_server.py"))
            processes.append(
                subprocess.Popen(
                    [sys.executable, script, *arguments], env=environment, stdout=output, stderr=output
                )
            )
    for process in processes:
        assert process.wait(600) == 0, (folder / "reference-vanilla.log").read_text("utf-8", "replace")[-2000:]
    return {
        profile.name: dict(
            zip(everything, json.loads((folder / f"{profile.name}.json").read_text("utf-8")), strict=True)
        )
        for profile in profiles
    }


@pytest.fixture(scope="session")
def service(folder: Path, references: dict[str, Any]) -> Iterator[Service]:
    """The service; after the references, so that no more than two engines run at a time."""
    del references
    with running_service(folder, folder / "data") as running:
        yield running
