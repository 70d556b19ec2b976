"""What engines leave on the machine besides their answers."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import psutil
import pytest
from whole_service import Service

pytestmark = pytest.mark.service


def test_sockets_are_in_the_folder_that_is_deleted_with_the_service(service: Service) -> None:
    """vLLM never deletes those between an engine's front end and its core."""
    run = {Path(_environment(pid)["SPECROUTE_LOG_DIR"]).parent for pid in _engines(service)}
    (folder,) = run
    sockets = [path for path in (folder / "ipc").iterdir() if path.is_socket()]
    assert len(sockets) >= len(_engines(service))
    ours = {str(path) for path in sockets}
    elsewhere = [
        connection.laddr
        for pid in _engines(service)
        for connection in psutil.Process(pid).net_connections(kind="unix")
        if connection.laddr and os.path.dirname(connection.laddr) == tempfile.gettempdir()
    ]
    assert ours
    assert elsewhere == []


def _engines(service: Service) -> list[int]:
    return [pool["status"]["pid"] for pool in service.admin("replicas")["pools"]]


def _environment(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(entry.decode().split("=", 1) for entry in entries if b"=" in entry)
