"""How engines end. Named to run last: afterwards there are none."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from engine_client import VANILLA, EngineHost
from waiting import until

from replicas.frames import Frame, ReplicaError
from replicas.hardware import available_cores
from replicas.model_store import default_cache_dir, prepare

pytestmark = pytest.mark.engine

LONG = {"prompt": "a b c d", "max_tokens": 1500, "temperature": 0, "ignore_eos": True}


def engine_processes(host: EngineHost) -> list[psutil.Process]:
    children = psutil.Process(host.process.pid).children(recursive=True)
    return [process for process in children if _name(process).startswith("VLLM")]


def _name(process: psutil.Process) -> str:
    """Empty for one that ended while it was looked at: starting engines have short-lived children."""
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def shared_memory(processes: list[psutil.Process]) -> set[Path]:
    """The shared memory these processes have mapped."""
    maps = {mapping.path for process in processes for mapping in process.memory_maps()}
    return {Path(path) for path in maps if path.startswith("/dev/shm/")}  # noqa: S108 - where Linux keeps it


def rest_of(stream: Iterator[Frame]) -> bytes:
    """Reads to the end, and insists that no error body comes on the way."""
    data = b""
    for frame in stream:
        data += frame.data
        assert b"error" not in data
    return data


def test_a_killed_core_fails_every_request_as_the_replicas_fault(vanilla: EngineHost) -> None:
    """Running and later calls raise ReplicaError, streamed or not; no error body reaches a client."""
    stream = iter(vanilla.start(LONG | {"stream": True}))
    whole = vanilla.start(LONG)
    for _ in range(3):
        assert b"error" not in next(stream).data
    (core,) = [pid for pid, name in vanilla.state()["processes"].items() if "EngineCore" in name]
    os.kill(core, signal.SIGKILL)
    with pytest.raises(ReplicaError):
        rest_of(stream)
    with pytest.raises(ReplicaError):
        list(whole)
    with pytest.raises(ReplicaError):
        vanilla.answer(LONG)
    with pytest.raises(ReplicaError):
        list(vanilla.send("check_health"))
    assert vanilla.state()["load"].running == 0


def test_a_dead_core_leaves_no_process(vanilla: EngineHost) -> None:
    """Nothing of an engine survives its core, and shutting the rest down returns at once."""
    _, alive = psutil.wait_procs(engine_processes(vanilla), timeout=120)
    list(vanilla.send("shutdown"))
    assert [process.status() for process in alive if process.is_running()] == []


def test_shutdown_leaves_nothing(ngram: EngineHost) -> None:
    """No process and no shared memory; a running call has failed, and so do later ones."""
    running = iter(ngram.start(LONG | {"stream": True}))
    next(running)
    processes = engine_processes(ngram)
    assert len(processes) == 1, "the worker lives in the core's process"
    assert processes[0].cpu_affinity() == [ngram.core]
    shared = shared_memory(processes)
    (left,) = ngram.send("shutdown")
    assert engine_processes(ngram) == []
    assert len(left) <= 1, "besides Python's resource tracker"
    assert [path for path in shared if path.exists()] == []
    with pytest.raises(ReplicaError):
        rest_of(running)
    with pytest.raises(ReplicaError):
        ngram.answer(LONG)


def test_nothing_outlives_a_replica_that_is_killed_while_it_loads(tmp_path: Path) -> None:
    """It takes its core with it; one that serves does too, as `test_killed_engines` sees."""
    folder = prepare(default_cache_dir(), progress=lambda _stage, _fraction: None)
    loading = EngineHost(VANILLA, available_cores()[0], folder, tmp_path)
    processes: list[psutil.Process] = []

    def loads() -> bool:
        """A core that has not begun to load gives up by itself, after minutes."""
        assert loading.process.poll() is None
        processes[:] = [p for p in engine_processes(loading) if p.cpu_affinity() == [loading.core]]
        return bool(processes)

    try:
        until(loads, 600)
        loading.process.kill()
        _, alive = psutil.wait_procs(processes, timeout=300)
        assert alive == []
    finally:
        loading.process.kill()
        loading.process.wait()
