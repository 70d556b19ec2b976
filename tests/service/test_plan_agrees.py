"""The planner against engines that run: the KV cache that vLLM made, and the memory their processes hold."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from typer.testing import CliRunner
from whole_service import Service

from router.cli import app

pytestmark = pytest.mark.engine

EMBEDDED = Path(__file__).parents[2] / "router" / "embedded.yaml"
GIB = 2**30
AGREEMENT = 0.15


@pytest.fixture(scope="module")
def planned() -> dict[str, dict[str, Any]]:
    """The memory that is planned for each profile of the built-in deployment."""
    result = CliRunner().invoke(app, ["plan", "--config", str(EMBEDDED), "--json"])
    profiles = json.loads(result.stdout)["profiles"]
    return {one["profile"]: one["memory"] for one in profiles}


def engine_bytes(pid: int) -> int:
    """What a replica's process and those below it hold; what they share with others counts in parts."""
    replica = psutil.Process(pid)
    return sum(process.memory_full_info().pss for process in [replica, *replica.children(recursive=True)])


def test_the_kv_cache_is_what_vllm_made(service: Service, planned: dict[str, Any]) -> None:
    """Its blocks, as its own metrics tell them, hold as many tokens as planned."""
    page = httpx.get(f"{service.url}/metrics", timeout=180).raise_for_status().text
    heads = re.findall(r"^vllm:cache_config_info\{(.*)\}", page, flags=re.MULTILINE)
    made = {}
    for head in heads:
        labels = dict(re.findall(r'(\w+)="([^"]*)"', head))
        made[labels["profile"]] = int(labels["num_gpu_blocks"]) * int(labels["block_size"])
    assert made.keys() == planned.keys()
    for profile, tokens in made.items():
        assert planned[profile]["kv_capacity_tokens"] == pytest.approx(tokens, rel=AGREEMENT)
        kv_gib = tokens * planned[profile]["kv_bytes_per_token"] / GIB
        assert planned[profile]["kv_gib"] == pytest.approx(kv_gib, rel=AGREEMENT)
        print(profile, "KV cache: planned", planned[profile]["kv_capacity_tokens"], "tokens, vLLM's", tokens)


def test_engines_take_the_memory_that_is_planned(service: Service, planned: dict[str, Any]) -> None:
    """Weights, KV cache and all the rest, over the processes of each engine."""
    pools = {pool["profile"]: pool["status"] for pool in service.admin("replicas")["pools"]}
    assert pools.keys() == planned.keys()
    for profile, status in pools.items():
        held_gib = engine_bytes(status["pid"]) / GIB
        print(profile, "planned", planned[profile]["used_gib"], "GiB, held", round(held_gib, 2))
        assert planned[profile]["used_gib"] == pytest.approx(held_gib, rel=AGREEMENT)
