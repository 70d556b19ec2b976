"""Each engine has GPUs of its own, wherever on the cluster: shown on pretended ones, with engines that use none."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration

CLUSTER = Path(__file__).with_name("placement_cluster.py")


def profile(name: str, gpus: int = 1, replicas: int = 1) -> dict[str, Any]:
    drafting = {"method": "ngram", "k": 4} if name != "vanilla" else {}
    return {"name": name, "device": "cuda", "gpus": gpus, "replicas": replicas} | drafting


def placed(nodes: list[int], profiles: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Where the engines are, on nodes with so many GPUs each."""
    args = {"profiles": profiles, "fake_engines": {}}
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SPECROUTE_"))
    } | {"SPECROUTE_DATA_DIR": str(folder)}
    ran = subprocess.run(
        [sys.executable, str(CLUSTER), json.dumps({"nodes": nodes, "args": args, "limit_s": 240})],
        check=False,
        capture_output=True,
        text=True,
        timeout=420,
        env=environment,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    found: list[dict[str, Any]] = json.loads(ran.stdout.splitlines()[-1])
    return found


def on_own_gpus(engines: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    """No GPU has two engines, and every engine has as many as its profile says."""
    taken = [(engine["node"], gpu) for engine in engines for gpu in engine["gpus"]]
    assert len(taken) == len(set(taken))
    counts = sorted((engine["profile"], len(engine["gpus"])) for engine in engines)
    assert counts == sorted((one["name"], one["gpus"]) for one in wanted for _ in range(one["replicas"]))


@pytest.mark.parametrize(
    ("nodes", "profiles"),
    [
        pytest.param([2], [profile("vanilla"), profile("ngram")], id="two GPUs in one node"),
        pytest.param(
            [4, 2, 2],
            [profile("vanilla", replicas=2), profile("ngram", gpus=2, replicas=2), profile("draft", gpus=2)],
            id="eight GPUs in three unequal nodes",
        ),
    ],
)
def test_every_engine_has_gpus_of_its_own(
    nodes: list[int], profiles: list[dict[str, Any]], tmp_path: Path
) -> None:
    """As many as its profile names, on one node, and shared with nobody."""
    on_own_gpus(placed(nodes, profiles, tmp_path), profiles)
