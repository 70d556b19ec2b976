"""Each engine has GPUs of its own, wherever on the cluster: shown on pretended ones, with engines that use none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from services import RAY_GAVE_UP, START_S, STARTS

pytestmark = pytest.mark.integration

CLUSTER = Path(__file__).with_name("placement_cluster.py")


def profile(name: str, gpus: float = 1, replicas: int = 1) -> dict[str, Any]:
    drafting = {} if name.startswith("vanilla") else {"method": "ngram", "k": 4}
    return {"name": name, "device": "cuda", "gpus": gpus, "replicas": replicas, **drafting}


CASES: dict[str, tuple[list[int], list[dict[str, Any]]]] = {
    "eight": ([8], [profile("vanilla", replicas=2), profile("ngram", 3, 2)]),
    "mixed": ([8, 2], [profile("vanilla", replicas=2), profile("ngram", 2), profile("wide", 4)]),
    "two": ([2], [profile("vanilla"), profile("ngram", 0.5, 2)]),
}
"""GPUs of the nodes, and the pools; one after the other on one cluster."""


@pytest.fixture(scope="module")
def placed() -> dict[str, list[dict[str, Any]]]:
    """Where the engines of each case are."""
    asked = [
        {"nodes": nodes, "args": {"profiles": profiles, "fake_engines": {}, "drain_s": 0}}
        for nodes, profiles in CASES.values()
    ]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SPECROUTE_"))}
    for _ in range(STARTS):
        ran = subprocess.run(
            [sys.executable, str(CLUSTER), json.dumps(asked)],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_S,
            env=kept,
        )
        if RAY_GAVE_UP not in ran.stderr:
            break
    assert ran.returncode == 0, ran.stderr[-4000:]
    found = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("[")]
    return dict(zip(CASES, found, strict=True))


@pytest.mark.parametrize("case", CASES)
def test_every_engine_has_gpus_of_its_own(case: str, placed: dict[str, list[dict[str, Any]]]) -> None:
    """As many as its profile names, all on one node; only those that ask for a part share one."""
    profiles = {profile["name"]: profile for profile in CASES[case][1]}
    engines = placed[case]
    assert Counter(engine["profile"] for engine in engines) == {
        name: profile["replicas"] for name, profile in profiles.items()
    }
    taken: Counter[tuple[str, str]] = Counter()
    for engine in engines:
        gpus = profiles[engine["profile"]]["gpus"]
        assert len(set(engine["gpus"])) == len(engine["gpus"]) == max(1, gpus)
        taken.update({(engine["node"], gpu): min(1, gpus) for gpu in engine["gpus"]})
    assert max(taken.values()) <= 1
    assert len({node for node, _ in taken}) <= len(CASES[case][0])


def test_a_part_of_a_gpu_is_shared_only_with_parts(placed: dict[str, list[dict[str, Any]]]) -> None:
    """Two halves are on one GPU, and the engine that asked for a whole one is on the other."""
    halves = {gpu for engine in placed["two"] if engine["profile"] == "ngram" for gpu in engine["gpus"]}
    whole = {gpu for engine in placed["two"] if engine["profile"] == "vanilla" for gpu in engine["gpus"]}
    assert len(halves) == len(whole) == 1
    assert not halves & whole
