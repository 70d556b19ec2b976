"""A local Ray cluster with pretended GPUs, and where Serve puts the engines of a deployment on it.

    python placement_cluster.py '{"nodes": [2, 2], "args": {...}}'

Prints one JSON list: profile, node and GPU ids of every engine replica, or the deployments that found no place.
"""

import asyncio
import json
import sys
import time
from typing import Any

from router.serving.environment import new_run, prepare_environment


def main() -> None:
    asked = json.loads(sys.argv[1])
    run = new_run()
    prepare_environment(run)
    try:
        print(json.dumps(placed(asked["nodes"], asked["args"], asked["limit_s"])))
    finally:
        run.remove()


def placed(nodes: list[int], args: dict[str, Any], limit_s: float) -> list[dict[str, Any]]:
    """Every engine replica once it runs."""
    import ray
    from ray import serve
    from ray.cluster_utils import Cluster
    from ray.serve.api import RunTarget

    from router.app import build

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 8, "num_gpus": nodes[0]})
    for gpus in nodes[1:]:
        cluster.add_node(num_cpus=8, num_gpus=gpus)
    ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": 0, "location": "NoServer"})
        serve.run_many(
            [RunTarget(build(args), name="specroute", route_prefix=None)],
            wait_for_ingress_deployment_creation=False,
            wait_for_applications_running=False,
        )
        wanted = {profile["name"]: profile.get("replicas", 1) for profile in args["profiles"]}
        return asyncio.run(accounts(wanted, limit_s))
    finally:
        serve.shutdown()
        ray.shutdown()
        cluster.shutdown()


async def accounts(wanted: dict[str, int], limit_s: float) -> list[dict[str, Any]]:
    """What every replica tells of itself, asking whichever answers until all have."""
    found: dict[str, dict[str, Any]] = {}
    until = time.monotonic() + limit_s
    while time.monotonic() < until and len(found) < sum(wanted.values()):
        for name in wanted:
            if (status := await account(name)) is not None:
                found[status["replica"]] = {key: status[key] for key in ("profile", "node", "gpus")}
        await asyncio.sleep(0.1)
    return list(found.values())


async def account(name: str) -> dict[str, Any] | None:
    """One replica's, None while none runs."""
    from ray import serve

    deployments = serve.status().applications["specroute"].deployments
    if name not in deployments or not deployments[name].replica_states.get("RUNNING"):
        return None
    handle = serve.get_deployment_handle(name, "specroute").options(method_name="status")
    status: dict[str, Any] = await handle.remote()
    return status


if __name__ == "__main__":
    main()
