"""A local Ray cluster with pretended GPUs, and where Serve puts the engines of deployments on it, one after the other.

    python placement_cluster.py '[{"nodes": [8, 2], "args": {"profiles": [...], "fake_engines": {}}}, ...]'

Between two cases nodes are added and taken away. Prints one JSON list a case: the profile, the node and the GPUs of
every engine.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from router.serving.environment import RUN_VARIABLE, new_run, prepare_environment
from router.serving.warden import Warden

STORE_BYTES = 100 * 2**20
LIMIT_S = 300.0


def main(cases: Sequence[Mapping[str, Any]]) -> None:
    """Every case on one cluster, whose head has no GPU."""
    run = new_run()
    warden = Warden(RUN_VARIABLE, run.mark, run.folder)
    prepare_environment(run)
    # Nobody calls these engines over HTTP; they are asked from here, which has no event loop.
    # A Cluster leaves its address in Ray's own folder, whatever it was told, and nobody may have made that yet.
    os.environ |= {
        "RAY_TMPDIR": str(run.ray.parent),
        "RAY_SERVE_ENABLE_HA_PROXY": "0",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "0",
    }
    try:
        for found in placed(cases, str(run.ray)):
            print(json.dumps(found), flush=True)
    finally:
        warden.sweep()


def placed(cases: Sequence[Mapping[str, Any]], folder: str) -> list[list[dict[str, Any]]]:
    """The accounts of all engines, case by case."""
    import ray
    from ray import serve
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 2, "num_gpus": 0, "temp_dir": folder, "object_store_memory": STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
    serve.start(http_options={"location": "NoServer"})
    nodes: dict[int, Any] = {}
    found = []
    for case in cases:
        for gpus in nodes.keys() - case["nodes"]:
            cluster.remove_node(nodes.pop(gpus))
        for gpus in case["nodes"]:
            if gpus not in nodes:
                nodes[gpus] = cluster.add_node(num_cpus=8, num_gpus=gpus, object_store_memory=STORE_BYTES)
        cluster.wait_for_nodes()
        found.append(engines(case["args"]))
    return found


def engines(args: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Deploy the pools of these settings as the product does, without a router, and ask every engine; end them."""
    from ray import serve
    from ray.serve.api import RunTarget

    from router.app import pools
    from router.settings import parse_settings

    bound = pools(parse_settings(args))
    serve.run_many([RunTarget(pool, name=name, route_prefix=None) for name, pool in bound.items()])
    statuses = [
        status
        for name in bound
        for status in serve.get_deployment_handle(name, name).broadcast("status").results(timeout_s=LIMIT_S)
    ]
    for name in bound:
        serve.delete(name)
    return [{key: status[key] for key in ("profile", "node", "gpus")} for status in statuses]


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)  # Ray would look for the cluster that has just been swept
