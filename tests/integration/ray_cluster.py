"""A Ray cluster of one node on loopback, started by Ray's own `ray start`: what `serve deploy` deploys to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import breaking
import httpx
import psutil
from ports import free_port
from services import RAY_GAVE_UP, RUN, START_S, STARTS
from waiting import until

DEMO = Path(__file__).parents[2] / "k8s" / "overlays" / "cpu-demo" / "serve.yaml"
BIN = Path(sys.executable).parent
NODE = Path(__file__).with_name("ray_node.py")
PORTS = (
    "port",
    "dashboard-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
    "ray-client-server-port",
    "object-manager-port",
    "node-manager-port",
)
"""Ray's own ports, each free when it is started; the defaults are fixed, and others may have them."""
KEPT = ("RAY_", "SPECROUTE_")


class RayCluster:
    """A running cluster with Serve's proxy on `url`, and Ray's command line programs against it."""

    def __init__(self, folder: Path, variables: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.variables: dict[str, str] = {}
        self._given = {name: value for name, value in os.environ.items() if not name.startswith(KEPT)}
        self._given |= {"SPECROUTE_DATA_DIR": str(folder / "data")} | dict(variables or {})
        for _ in range(STARTS):
            self._start()
            if self.process.poll() is None or RAY_GAVE_UP not in self.log:
                break
        assert self.process.poll() is None, self.log
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.run("serve", "start", "--http-host", "127.0.0.1", "--http-port", str(port))

    @property
    def log(self) -> str:
        """What `ray start` said."""
        return (self.folder / "ray.txt").read_text(errors="replace")

    def run(self, program: str, *arguments: str) -> str:
        """What one of Ray's programs prints, run against this cluster; fails when it does."""
        done = subprocess.run(
            [BIN / program, *arguments],
            env=self._given | self.variables | {"RAY_ADDRESS": self._address("port")},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_S,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        return done.stdout

    def deploy(self, file: Path) -> None:
        """Ray's `serve deploy FILE`: returns when Serve has taken the config, long before it is carried out."""
        self.run("serve", "deploy", str(file), "--address", f"http://{self._address('dashboard-port')}")

    def ready(self) -> bool:
        """Whether a pool answers."""
        return httpx.get(f"{self.url}/readyz", timeout=60).status_code == httpx.codes.OK

    def replicas(self, deployment: str) -> set[int]:
        """The processes that run it, those that are ending included."""
        return {process.pid for process in breaking.replicas(self.processes(), deployment)}

    def applications(self) -> dict[str, dict[str, Any]]:
        """Serve's account of its applications, as `serve status` shows it."""
        answer = httpx.get(
            f"http://{self._address('dashboard-port')}/api/serve/applications/",
            headers={"Authorization": f"Bearer {self.variables['RAY_AUTH_TOKEN']}"},
            timeout=60,
        )
        found: dict[str, dict[str, Any]] = answer.raise_for_status().json()["applications"]
        return found

    def processes(self) -> list[psutil.Process]:
        """The living processes of this cluster, by its run's mark."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                marked = process.environ().get(RUN) == self.variables[RUN]
                if marked and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def end(self) -> None:
        """End everything in it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(START_S)

    def _start(self) -> None:
        self._ports = {name: free_port() for name in PORTS}
        note = self.folder / "variables.json"
        note.unlink(missing_ok=True)
        with (self.folder / "ray.txt").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(NODE), json.dumps(self._ports), str(note)],
                env=self._given,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until(lambda: "Ray runtime started" in self.log or self.process.poll() is not None, START_S)
        if self.process.poll() is None:
            self.variables = json.loads(note.read_text())

    def _address(self, port: str) -> str:
        return f"127.0.0.1:{self._ports[port]}"
