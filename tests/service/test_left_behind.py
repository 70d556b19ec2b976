"""What engines leave on the machine besides their answers."""

from __future__ import annotations

import tempfile
from pathlib import Path

import psutil
import pytest
from whole_service import Service

pytestmark = pytest.mark.engine


def test_sockets_are_in_the_folder_that_is_deleted_with_the_service(service: Service) -> None:
    """VLLM never deletes those between an engine's front end and its core."""
    pids = [pool["status"]["pid"] for pool in service.admin("replicas")["pools"]]
    (folder,) = {_run_folder(pid) for pid in pids}
    sockets = [path for path in (folder / "ipc").iterdir() if path.is_socket()]
    assert len(sockets) >= len(pids)
    elsewhere = [
        connection.laddr
        for pid in pids
        for connection in psutil.Process(pid).net_connections(kind="unix")
        if connection.laddr and Path(connection.laddr).parent == Path(tempfile.gettempdir())
    ]
    assert elsewhere == []


def _run_folder(pid: int) -> Path:
    """The folder of the run that a process belongs to, by its environment."""
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    environment = dict(entry.decode().split("=", 1) for entry in entries if b"=" in entry)
    return Path(environment["SPECROUTE_LOG_DIR"]).parent
