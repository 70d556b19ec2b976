"""The Ray Serve deployments: one per profile, each replica one engine."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, RequestRouterConfig

from replicas.autoscaling import Autoscaling, Told
from replicas.fake import FakeEngine, FakeSettings
from replicas.frames import Call, Engine, Frame, Parts, ReplicaError, parted
from replicas.hardware import cpu_environment, gpu_environment, take_part
from replicas.heap import trim_regularly, trimmer
from replicas.logs import bind, configure_logging
from replicas.profiles import EMBEDDED, ModelSpec, Profile
from replicas.progress import Progress
from replicas.quiet import Quiet
from replicas.rehearsal import Rehearsal
from replicas.renewal import Renewal, resolved
from replicas.tracing import opened_replica_tracer

_QUEUED_PER_SLOT = 4


class ReplicaSpec(NamedTuple):
    """All a replica needs to start."""

    profile: Profile
    model: ModelSpec
    on_cpu: bool
    fake: FakeSettings | None = None


class EngineReplica:
    """Hosts one engine. Serve creates it in a process of its own."""

    async def __init__(self, spec: ReplicaSpec) -> None:  # type: ignore[misc]  # Serve awaits it
        self._spec = spec = spec._replace(profile=resolved(spec.profile))
        here = serve.get_replica_context()
        self._id = here.replica_id.unique_id
        take_part(spec.profile, here.rank.local_rank)
        self._told = Told()
        self._renewal = Renewal(self._id, spec.profile)
        self._started_at = time.time()
        configure_logging(spec.profile.name)
        trim_regularly(trimmer())
        self._tracer = opened_replica_tracer(spec.profile.name, self._id)
        progress = Progress.from_environment(spec.profile.name)
        self._quiet = Quiet()
        try:
            with self._quiet.starting():
                self._engine = await _started(spec, progress)
        except BaseException as error:
            progress.failed(f"{type(error).__name__}: {error}")
            raise
        self._ready_at = time.time()
        progress.ready()
        self._rehearsal = Rehearsal(self._engine, spec.profile, self._quiet)
        self._rehearsal.over = spec.fake is not None  # what a fake engine takes is what it was told to
        self._rehearsing = None if self._rehearsal.over else asyncio.create_task(self._rehearsal.run())

    async def serve(self, call: Call) -> AsyncGenerator[Parts, None]:
        """Answer one call with frames, `parted`; see `replicas.frames.Engine`."""
        bind(call.request_id, call.trace_id)
        self._renewal.check()
        self._quiet.disturb()
        try:
            async with aclosing(self._tracer.watched(self._engine.serve, call)) as frames:
                async for frame in frames:
                    yield parted(self._signed(frame))
        except ReplicaError as error:
            error.replica = self._id
            raise

    async def status(self) -> dict[str, Any]:
        """This replica's account of itself. Raises ReplicaError when its engine is gone or goes."""
        self._renewal.check()
        try:
            await self._engine.check_health()
        except ReplicaError as error:
            error.replica = self._id
            raise
        load, steps = self._engine.load(), self._engine.steps
        running = max(0, load.running - self._rehearsal.in_flight)
        if running:
            self._quiet.disturb()
        return {
            "profile": self._spec.profile.name,
            "replica": self._id,
            "pid": os.getpid(),
            "node": ray.get_runtime_context().get_node_id(),
            "gpus": ray.get_gpu_ids(),
            "running": running,
            "waiting": load.waiting,
            "capacity": load.capacity,
            "passes": steps.recorded,
            "step_moments": steps.moments.to_list(),
            "rehearsal": self._rehearsal.moments.to_list(),
            "rehearsed": self._rehearsal.over,
            "refused_steps": steps.refused,
            "started_at": self._started_at,
            "start_seconds": self._ready_at - self._started_at,
        }

    async def drafter(self) -> dict[str, Any]:
        """Which drafter this replica has loaded, and whether it is making room for another."""
        return self._renewal.account()

    async def renew(self, replica: str, drain_s: float) -> bool:
        """Make room for an engine started anew, if this is `replica`; whether it is."""
        if replica != self._id:
            return False
        self._renewal.begin(self._engine, drain_s)
        return True

    async def expect(self, router: str, demand: float) -> None:
        """A router's word on what it expects to be asked of the whole pool; see `replicas.autoscaling`."""
        self._told.note(router, demand)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What Serve's controller gets to know of it, where the pool has autoscaling."""
        return self._told.metrics()

    def _signed(self, frame: Frame) -> Frame:
        """The frame with this replica's name where there is room for it: on the first and the last one."""
        if (ending := frame.ending) is not None:
            frame = frame._replace(ending=ending._replace(replica=self._id))
        return frame._replace(replica=self._id) if frame.status else frame

    async def check_health(self) -> None:
        """Serve replaces the replica when this raises."""
        self._renewal.check_health()
        if self._renewal.leaving:
            return
        await self._engine.check_health()

    async def __del__(self) -> None:
        if (rehearsing := getattr(self, "_rehearsing", None)) is not None:
            rehearsing.cancel()
        if (engine := getattr(self, "_engine", None)) is not None:
            await asyncio.to_thread(engine.shutdown)
        if (tracer := getattr(self, "_tracer", None)) is not None:
            await asyncio.to_thread(tracer.close)


async def _started(spec: ReplicaSpec, progress: Progress) -> Engine:
    if spec.fake is not None:
        await asyncio.sleep(spec.fake.start_s)
        return FakeEngine(spec.profile, spec.model, spec.fake)
    progress.stage("importing vLLM")
    from replicas.engine import VllmEngine  # noqa: PLC0415 - seconds, and only where an engine really runs

    folder = await asyncio.to_thread(model_folder, spec.model, progress)
    engine = await VllmEngine.start(
        spec.profile, spec.model, folder=str(folder), on_cpu=spec.on_cpu, progress=progress.stage
    )
    progress.stage("warming up")
    try:
        await engine.warm_up()
    except BaseException:
        engine.shutdown()
        raise
    return engine


def model_folder(model: ModelSpec, progress: Progress) -> Path:
    """The folder of the target on this machine; the embedded model is prepared where it is missing."""
    if model.path != EMBEDDED:
        return Path(model.path)
    from replicas import model_store  # noqa: PLC0415 - replicas of other models never need it

    return model_store.prepare(
        model_store.default_cache_dir(), progress=lambda stage, _: progress.stage(stage)
    )


def engine_deployment(
    spec: ReplicaSpec, *, cores: Sequence[int] = (), drain_s: float, surge: bool = False
) -> Any:
    """A bound Serve deployment of one pool. A replica that must go gets `drain_s` for the requests it has.

    On CPU machines replicas share `cores` out, unless the profile names them; on GPU machines each has
    GPUs of its own, which Ray hands out.
    With `surge`, an update ends an engine only when its successor is ready, which waits for room until then.
    """
    profile = spec.profile
    environment = {
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": os.environ.get("VLLM_LOGGING_LEVEL", "WARNING"),
        # The router knows the callers; with a key of its own vLLM's app would refuse the router.
        "VLLM_API_KEY": "",
    }
    actor_options: dict[str, Any] = {"num_cpus": 0 if spec.on_cpu else 1}
    if spec.model.path == EMBEDDED:
        environment["HF_HUB_OFFLINE"] = "1"
    if spec.on_cpu and spec.fake is None:
        environment |= cpu_environment(profile, cores)
    elif not spec.on_cpu:
        environment |= gpu_environment(profile)
        actor_options["num_gpus"] = profile.gpus
    actor_options["runtime_env"] = {"env_vars": environment}
    options: dict[str, Any] = {}
    if profile.most_replicas > 1:
        options["request_router_config"] = RequestRouterConfig(
            request_router_class="replicas.request_router.HomeFirst",  # type: ignore[arg-type]  # annotated wrongly
            request_router_kwargs={"slots": profile.max_num_seqs},
        )
    if profile.autoscaling is None:
        options["num_replicas"] = profile.replicas
    else:
        options["autoscaling_config"] = _autoscaling_config(profile.autoscaling, profile.max_num_seqs)
    return serve.deployment(
        name=profile.name,
        # Beyond what is decoded at once some more may wait inside the engine, which schedules best; the rest
        # waits at the router, where it can still go elsewhere.
        max_ongoing_requests=profile.max_num_seqs * (1 + _QUEUED_PER_SLOT),
        max_queued_requests=profile.max_num_seqs * _QUEUED_PER_SLOT,
        graceful_shutdown_timeout_s=drain_s,
        graceful_shutdown_wait_loop_s=0.1,
        health_check_period_s=2,  # the third failure counts
        health_check_timeout_s=30,
        max_surge_percent=100 if surge else 0,
        ray_actor_options=actor_options,
        **options,
    )(EngineReplica).bind(spec)


def _autoscaling_config(scaling: Autoscaling, slots: int) -> AutoscalingConfig:
    """What Serve is told of a pool whose engines decode `slots` requests at once.

    It has no `initial_replicas`: Serve would go back to them with every change of the deployment.
    """
    return AutoscalingConfig(
        min_replicas=scaling.min_replicas,
        max_replicas=scaling.max_replicas,
        upscale_delay_s=scaling.upscale_delay_s,
        downscale_delay_s=scaling.downscale_delay_s,
        target_ongoing_requests=slots * scaling.target_load,
        policy=AutoscalingPolicy(
            policy_function="replicas.autoscaling:DemandPolicy",
            policy_kwargs={
                "slots": slots,
                "target_load": scaling.target_load,
                "least": scaling.min_replicas,
                "most": scaling.max_replicas,
            },
        ),
    )
