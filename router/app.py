"""The Serve application: `import_path: router.app:build`, with the deployment settings as its `args`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray import serve

from replicas.deployment import ReplicaSpec, engine_deployment
from replicas.hardware import assign_cores, available_cores
from replicas.profiles import Profile
from router.ingress import RouterIngress
from router.settings import DeploymentSettings, parse_settings

ROUTER = "router"

_MIN_ONGOING = 1000


def build(args: Mapping[str, Any]) -> Any:
    """The application: the router in front, one deployment per profile behind it.

    Raises SettingsError (a ValueError) with a line for every problem in `args`.
    """
    return application(parse_settings(args))


def application(settings: DeploymentSettings) -> Any:
    """The bound Serve application of these settings."""
    most = _most_ongoing(settings)
    return serve.deployment(
        name=ROUTER,
        num_replicas=settings.routers,
        max_ongoing_requests=most,
        max_queued_requests=most,
        graceful_shutdown_timeout_s=settings.drain_s,
        # New routers answer before the old ones go; one that finds the embedded store in use joins it.
        max_surge_percent=100,
        graceful_shutdown_wait_loop_s=0.1,
        ray_actor_options={"num_cpus": 0},
    )(RouterIngress).bind(settings, pools(settings))


def pools(settings: DeploymentSettings) -> dict[str, Any]:
    """The bound deployment of every profile, by its name."""
    on_cpu = {profile.name: _on_cpu(profile) for profile in settings.profiles}
    cores = assign_cores([p for p in settings.profiles if on_cpu[p.name]], available_cores())
    surging = _surging(settings.profiles)
    return {
        profile.name: engine_deployment(
            ReplicaSpec(profile, settings.model, on_cpu[profile.name], settings.fake_engines),
            cores=cores.get(profile.name, ()),
            drain_s=settings.drain_s,
            surge=profile.name in surging,
        )
        for profile in settings.profiles
    }


def _surging(profiles: Sequence[Profile]) -> set[str]:
    """Pools whose engines an update ends only when their successors are ready.

    Serve replaces all pools at once, whatever has changed. A pool of several engines goes on with the others;
    where every pool has one, all surge.
    """
    if any(profile.fewest_replicas > 1 for profile in profiles):
        return set()
    return {profile.name for profile in profiles}


def _most_ongoing(settings: DeploymentSettings) -> int:
    """Requests in one router: more than it may let in and keep in line, so that it refuses the rest itself.

    See `Pools.room`: at most two per slot are let in. See `policies.admission`: two per place may wait.
    """
    slots = sum(profile.max_num_seqs * profile.most_replicas for profile in settings.profiles)
    return _MIN_ONGOING + math.ceil(slots * (2 + 2 * settings.admission.queue_per_slot))


def _on_cpu(profile: Profile) -> bool:
    if profile.device != "auto":
        return profile.device == "cpu"
    return not (ray.is_initialized() and ray.cluster_resources().get("GPU", 0) > 0)
