"""`specroute serve` as a process: how it starts, how it refuses to, and what is left when it ends."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from services import SPECROUTE, Service, free_port, policy, write_config
from waiting import ANSWER_S, until

pytestmark = pytest.mark.integration


def listeners(service: Service) -> list[tuple[psutil.Process, str, int]]:
    """Process, address and port of everything the run listens on."""
    found = []
    for process in service.processes():
        with suppress(psutil.NoSuchProcess):  # Ray's helpers come and go
            found += [
                (process, connection.laddr.ip, connection.laddr.port)
                for connection in process.net_connections("inet")
                if connection.status == psutil.CONN_LISTEN
            ]
    return found


def test_nothing_listens_beyond_loopback_but_serves_own_servers(service: Service) -> None:
    """One gRPC server a replica, guarded by the run's token (docs/decisions/0002), and nothing else."""
    # HAProxy may be starting anew with its last configuration: the port is handed from one to the other.
    until(lambda: service.port in {port for _, _, port in listeners(service)})
    found = listeners(service)
    open_to_all = [
        process
        for process, address, _ in found
        if not address.removeprefix("::ffff:").startswith("127.") and address != "::1"
    ]
    names = [" ".join(process.cmdline()) for process in open_to_all]
    assert all(name.startswith("ray::ServeReplica:specroute:") for name in names), names
    assert len(set(names)) == len(names) == 3
    assert all(process.environ().get("RAY_AUTH_MODE") == "token" for process in open_to_all)


def test_code_in_the_folder_it_is_started_from_is_not_ours(tmp_path: Path) -> None:
    """Ray's workers would import it first, and many projects have a router.py."""
    for name in ("router", "replicas", "policies"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('somebody else's')\n")
    service = Service(tmp_path).wait_until_ready()
    try:
        assert service.answers()
    finally:
        service.end(signal.SIGTERM)


def test_two_instances_side_by_side_and_ctrl_c(service: Service, tmp_path: Path) -> None:
    """A second works beside the first; Ctrl-C, which reaches its whole group, leaves nothing of it alone."""
    second = Service(tmp_path).wait_until_ready()
    try:
        assert second.answers()
        assert service.answers()
        assert {p for _, _, p in listeners(second)}.isdisjoint(p for _, _, p in listeners(service))
    finally:
        second.end(signal.SIGINT, group=True)
    assert second.process.returncode == 0
    until(lambda: not second.remains())
    assert "Traceback" not in second.stderr
    assert service.answers()


def refused(folder: Path, *options: str, **args: Any) -> str:
    """The one line with which `serve` refuses to start."""
    config = write_config(folder, free_port(), **args)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPECROUTE_")}
    ended = subprocess.run(
        [SPECROUTE, "serve", "--config", config, *options],
        capture_output=True,
        text=True,
        timeout=ANSWER_S,
        env=environment,
    )
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert line.startswith("specroute: ")
    return line


def test_a_port_in_use(service: Service, tmp_path: Path) -> None:
    """The line names the port; the service that has it is not disturbed."""
    line = refused(tmp_path, "--port", str(service.port))
    assert f"127.0.0.1:{service.port}" in line
    assert "in use" in line
    assert service.answers()


def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    """A store URL, a policy and a setting that cannot be used, each before anything is started."""
    assert "store.url" in refused(tmp_path, store={"url": "http://x"})
    broken = tmp_path / "broken.yaml"
    broken.write_text(policy("broken", mood="bad"))
    assert "spec.mood" in refused(tmp_path, "--policy", str(broken))
    assert "did you mean 'store'?" in refused(tmp_path, stor={})
