"""Processes that end with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from replicas import orphans

pytestmark = pytest.mark.unit

_CHILD = "from replicas.orphans import end_with_parent; end_with_parent(); print('tied', flush=True); input()"
_PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {_CHILD!r}], stdin=subprocess.PIPE)
input()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is Linux's")
def test_a_child_ends_when_its_parent_is_killed() -> None:
    """The child holds our pipe open as long as it lives; it closes although nobody told it anything."""
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "tied\n"
        parent.send_signal(signal.SIGKILL)
        assert parent.stdout.read() == ""


class KilledError(Exception):
    pass


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A kernel whose answers the test chooses."""
    machine: dict[str, Any] = {"parents": [10, 10], "starter": None, "asked": []}

    class Library:
        def prctl(self, *arguments: int) -> None:
            machine["asked"].append(arguments[:2])

    def kill(pid: int, signum: int) -> None:
        raise KilledError(pid, signum)

    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: Library())
    monkeypatch.setattr("os.getppid", lambda: machine["parents"].pop(0))
    monkeypatch.setattr("os.kill", kill)
    monkeypatch.setattr("multiprocessing.parent_process", lambda: machine["starter"])
    monkeypatch.setattr("sys.platform", "linux")
    return machine


class Starter:
    def __init__(self, *, alive: bool) -> None:
        self._alive = alive

    def is_alive(self) -> bool:
        return self._alive


@pytest.mark.parametrize("starter", [None, Starter(alive=True)])
def test_the_kernel_is_asked_while_the_parent_lives(machine: dict[str, Any], starter: Starter | None) -> None:
    """With the signal that was chosen."""
    machine["starter"] = starter
    orphans.end_with_parent(signal.SIGTERM)
    assert machine["asked"] == [(1, 15)]


def test_a_parent_that_ends_during_the_call_counts(machine: dict[str, Any]) -> None:
    """The kernel would not tell of it."""
    machine["parents"] = [10, 1]
    with pytest.raises(KilledError) as killed:
        orphans.end_with_parent()
    assert killed.value.args == (os.getpid(), signal.SIGKILL)


def test_a_parent_that_ended_long_before_counts(machine: dict[str, Any]) -> None:
    """Loading a model takes a while before anything of ours runs in the core."""
    machine["parents"] = [1, 1]
    machine["starter"] = Starter(alive=False)
    with pytest.raises(KilledError):
        orphans.end_with_parent()


def test_elsewhere_nothing_is_done(machine: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Other systems have no such call."""
    monkeypatch.setattr("sys.platform", "darwin")
    orphans.end_with_parent()
    assert machine["asked"] == []
