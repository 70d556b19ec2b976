"""The whole service on two real engines, and vLLM alone to compare it with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shapes import PLAIN_ONLY, SHAPES
from whole_service import Service

from replicas.hardware import available_cores, cpu_environment
from replicas.model_store import default_cache_dir, prepare
from replicas.profiles import Profile


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="session")
def references(folder: Path) -> dict[str, dict[str, Any]]:
    """What vLLM alone answers to every shape: on a plain engine, and on one that always drafts."""
    model = prepare(default_cache_dir(), progress=lambda _stage, _fraction: None)
    everything = SHAPES | PLAIN_ONLY
    requests = folder / "requests.json"
    requests.write_text(json.dumps(list(everything.values())), encoding="utf-8")
    profiles = [Profile(name="vanilla"), Profile(name="ngram", method="ngram", k=8)]
    processes = []
    for number, profile in enumerate(profiles):
        cores = available_cores()
        core = cores[number % len(cores)]
        environment = os.environ | cpu_environment(profile, [core]) | {"HF_HUB_OFFLINE": "1"}
        # vLLM's own way of running a CPU worker.
        environment |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "1", "VLLM_CPU_OMP_THREADS_BIND": str(core)}
        arguments = [
            profile.model_dump_json(),
            str(model),
            str(requests),
            str(folder / f"{profile.name}.json"),
        ]
        with (folder / f"reference-{profile.name}.log").open("wb") as output:
            script = str(Path(__file__).with_name("reference_server.py"))
            processes.append(
                subprocess.Popen(
                    [sys.executable, script, *arguments], env=environment, stdout=output, stderr=output
                )
            )
    for process in processes:
        assert process.wait(1200) == 0, (folder / "reference-vanilla.log").read_text("utf-8", "replace")[
            -2000:
        ]
    return {
        profile.name: dict(
            zip(everything, json.loads((folder / f"{profile.name}.json").read_text("utf-8")), strict=True)
        )
        for profile in profiles
    }


@pytest.fixture(scope="session")
def service(folder: Path, references: dict[str, Any]) -> Iterator[Service]:
    """The service; after the references, so that no more than two engines run at a time."""
    del references
    running = Service(folder)
    try:
        running.start()
        yield running
    finally:
        running.stop()
