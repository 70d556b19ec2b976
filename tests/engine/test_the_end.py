"""How engines end. Named to run last: afterwards there are none."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest
from engine_client import EngineHost

from replicas.frames import ReplicaError

pytestmark = pytest.mark.engine

LONG = {"prompt": "a b c d", "max_tokens": 1500, "temperature": 0, "ignore_eos": True}


def shared_memory() -> set[str]:
    """Shared memory segments and named semaphores of this machine."""
    return {file.name for file in Path("/dev/shm").iterdir()}


def processes_of(host: EngineHost) -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process(host.process.pid).children(recursive=True)
        if process.is_running()
    ]


def test_a_killed_core_fails_every_request_as_the_replicas_fault(vanilla: EngineHost) -> None:
    """Running and later calls raise ReplicaError, streamed or not; no error body reaches a client."""
    stream = iter(vanilla.start(LONG | {"stream": True}))
    whole = vanilla.start(LONG)
    for _ in range(3):
        assert b"error" not in next(stream).data
    (core,) = [pid for pid, name in vanilla.state()["processes"].items() if "EngineCore" in name]
    os.kill(core, signal.SIGKILL)
    with pytest.raises(ReplicaError):
        for frame in stream:
            assert b"error" not in frame.data
    with pytest.raises(ReplicaError):
        list(whole)
    with pytest.raises(ReplicaError):
        vanilla.answer(LONG)
    with pytest.raises(ReplicaError):
        list(vanilla.send("check_health"))
    assert vanilla.state()["load"].running == 0


def test_a_dead_core_takes_its_worker_along(vanilla: EngineHost) -> None:
    """Nothing of an engine survives its core, and shutting the rest down returns."""
    (left,) = vanilla.send("shutdown")
    gone, alive = psutil.wait_procs([p for p in processes_of(vanilla) if "VLLM" in p.name()], timeout=10)
    assert alive == [], left


def test_shutdown_leaves_nothing(ngram: EngineHost) -> None:
    """After shutdown no engine process is left, a running call has failed, and shared memory is given back."""
    running = ngram.start(LONG | {"stream": True})
    next(iter(running))
    engine_processes = [process for process in processes_of(ngram) if process.name().startswith("VLLM")]
    assert len(engine_processes) == 2
    list(ngram.send("shutdown"))
    _, alive = psutil.wait_procs(engine_processes, timeout=10)
    assert alive == []
    with pytest.raises(ReplicaError):
        list(running)
    with pytest.raises(ReplicaError):
        ngram.answer(LONG)
