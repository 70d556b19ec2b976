"""Starts the embedded service, shows how it comes up, and ends it without remains."""

from __future__ import annotations

import io
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from types import FrameType
from typing import Any

from replicas.orphans import end_with_parent
from replicas.progress import read_progress
from router.guards import is_loopback
from router.serving.config import ServeConfig
from router.serving.environment import RUN_VARIABLE, Run, new_run, prepare_environment
from router.serving.screen import Screen
from router.serving.warden import Warden

EXIT_WITH_PARENT_VARIABLE = "SPECROUTE_EXIT_WITH_PARENT"
APPLICATION = "specroute"

_POLL_S = 0.25
_STORE_MEMORY_BYTES = 200 * 2**20
"""Ray's object store: frames are small and stay out of it."""


class StartError(Exception):
    """The service did not come up; the message says why."""


@dataclass(frozen=True, slots=True)
class _Stop:
    """Set once somebody asked the service to end."""

    event: threading.Event

    def listen(self) -> None:
        """Take the signals that end a service."""
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, self)

    def __call__(self, _signum: int, _frame: FrameType | None) -> None:
        self.event.set()


def serve(config: ServeConfig, screen: Screen) -> None:
    """Serve until a signal ends it. Raises StartError."""
    if os.environ.get(EXIT_WITH_PARENT_VARIABLE):
        end_with_parent(signal.SIGTERM)
    stop = _Stop(threading.Event())
    stop.listen()
    started = time.monotonic()
    with _run() as run:
        prepare_environment(run)
        screen.follow(run.logs)
        with _ray(run):
            stop.listen()  # Ray has put its own handlers in place
            screen.note("starting Ray and the engines")
            try:
                _deploy(config)
            except Exception as error:
                raise StartError(f"Ray Serve did not start: {_last_line(error)}; logs: {run.ray}") from error
            if not _wait_until_ready(config, run, screen, stop.event):
                return
            screen.ready(config, read_progress(run.progress), time.monotonic() - started)
            while not stop.event.wait(_POLL_S):
                screen.tick()
            screen.note("stopping")


@contextmanager
def _run() -> Iterator[Run]:
    """A run under a warden, which ends whatever is left of it, however this process ends."""
    run = new_run()
    warden = Warden(RUN_VARIABLE, run.mark, run.folder)
    try:
        yield run
    except StartError:
        (run.folder / "keep").touch()
        raise
    finally:
        warden.sweep()


@contextmanager
def _ray(run: Run) -> Iterator[None]:
    """A private Ray of this process, shut down in order at the end."""
    import ray  # noqa: PLC0415 - reads the environment when it is imported
    from ray import serve  # noqa: PLC0415
    from ray.job_config import JobConfig  # noqa: PLC0415

    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    try:
        ray.init(
            address="local",
            num_cpus=max(2, os.cpu_count() or 2),
            include_dashboard=False,
            object_store_memory=_STORE_MEMORY_BYTES,
            log_to_driver=False,
            logging_level=logging.ERROR,
            # Or workers would import what lies in the folder this was started from before what is installed:
            # somebody's router.py in the place of our package. A client's job does not say where it is.
            job_config=JobConfig(_client_job=True),
            _temp_dir=str(run.ray),
        )
    except Exception as error:  # a machine so busy that the raylet takes longer than its half a minute
        raise StartError(f"Ray did not start: {_last_line(error)}; logs: {run.ray}") from error
    try:
        yield
    finally:
        # Ending the controller makes Ray complain that the call which ended it did not return.
        with redirect_stdout(io.StringIO()):
            serve.shutdown()
            ray.shutdown()


def _deploy(config: ServeConfig) -> None:
    """Hand the application to Serve; returns before it runs."""
    from ray import serve  # noqa: PLC0415 - after the environment was set
    from ray.serve.api import RunTarget  # noqa: PLC0415

    from router.app import application  # noqa: PLC0415

    settings = config.settings
    if is_loopback(config.host):
        http = settings.http.model_copy(update={"open_admin": True})
        settings = settings.model_copy(update={"http": http})
    elif config.built_in:
        # Only a gateway may name tenants once others than this machine can call.
        settings = settings.model_copy(
            update={"tenancy": settings.tenancy.model_copy(update={"trusted_header": False})}
        )
    serve.start(http_options={"host": config.host, "port": config.port})
    serve.run_many(
        [RunTarget(application(settings), name=APPLICATION, route_prefix="/")],
        wait_for_ingress_deployment_creation=False,
        wait_for_applications_running=False,
    )


def _wait_until_ready(config: ServeConfig, run: Run, screen: Screen, stop: threading.Event) -> bool:
    """Follow the start until every engine answers; False when somebody asked to stop first.

    Engines that fail while others come up are reported and left to Serve, which tries again.

    Raises StartError once none is left.
    """
    names = [profile.name for profile in config.settings.profiles]
    while not stop.wait(_POLL_S):
        stages = {name: stage for name, stage in read_progress(run.progress).items() if name in names}
        status = _application_status()
        screen.starting(names, stages)
        failed = {name for name, stage in stages.items() if stage.state == "failed"}
        if len(failed) == len(names):
            raise StartError("\n".join(f"engine {name}: {stages[name].what}" for name in names))
        if status.deployments.get("router") is not None and _deploy_failed(status):
            raise StartError(_first_message(status) or "Ray Serve could not start the application")
        up = {name for name, stage in stages.items() if stage.state == "ready"}
        if up and up | failed == set(names) and _router_answers(config):
            return True
    return False


def _application_status() -> Any:
    from ray import serve  # noqa: PLC0415 - after the environment was set

    return serve.status().applications[APPLICATION]


def _deploy_failed(status: Any) -> bool:
    return bool(status.deployments["router"].status == "DEPLOY_FAILED")


def _first_message(status: Any) -> str | None:
    message = next((d.message for d in status.deployments.values() if d.message), None)
    return message.strip().splitlines()[-1] if message else None


def _last_line(error: Exception) -> str:
    """Ray's messages hold whole tracebacks; what happened stands at their end."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def _router_answers(config: ServeConfig) -> bool:
    import http.client  # noqa: PLC0415 - once, at the end of a start

    host = config.host if config.host not in {"0.0.0.0", "::"} else "localhost"
    connection = http.client.HTTPConnection(host, config.port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()
