"""The plan of every profile in a deployment file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from policies.planning import (
    Engine,
    Load,
    ShapeError,
    loaded_as,
    size_verdict,
)
from policies.planning.gpus import CPU
from policies.planning.memory import DEFAULT_UTILIZATION, GIB
from policies.planning.parameters import parameters
from replicas.profiles import EMBEDDED, ModelSpec, Profile, engine_arguments
from router.planning.engines import ANY_GPU, Planned, found, placed
from router.planning.findings import pair_problems, split_problems, tokenizers
from router.settings import DeploymentSettings

_FP8: Final = "fp8"


def plan_deployment(
    settings: DeploymentSettings,
    *,
    gpu: str | None,
    shapes: Path | None,
    context: int | None,
    concurrency: int | None,
) -> list[dict[str, Any]]:
    """An entry per profile, none left out; `ok` is whether it fits and its drafter can work.

    `gpu` None plans profiles for the CPU of this machine where they say `device: cpu` or serve the embedded
    model, and on the smallest GPU that does otherwise. What must fit is one request of the longest length, as
    vLLM asks for, or so many requests of so many tokens. Of models that are not on this machine, shapes are
    taken from folders in `shapes`, or known by name.

    Raises:
        PlanError: A model or GPU is unknown or cannot be read; one line that names the profile.
    """
    load = Load(context or settings.model.max_model_len, concurrency or 1)
    here = [profile for profile in settings.profiles if _hardware_name(profile, settings.model, gpu) == CPU]
    machine_share = 1 / max(1, sum(profile.most_replicas for profile in here))
    return [
        _entry(profile, settings.model, load, gpu, shapes, machine_share) for profile in settings.profiles
    ]


def _hardware_name(profile: Profile, model: ModelSpec, gpu: str | None) -> str | None:
    on_cpu = profile.device == CPU or (profile.device == "auto" and model.path == EMBEDDED)
    return CPU if gpu is None and on_cpu else gpu


def _entry(  # noqa: PLR0917 - one caller
    profile: Profile,
    model: ModelSpec,
    load: Load,
    gpu: str | None,
    shapes: Path | None,
    machine_share: float,
) -> dict[str, Any]:
    gpu_name = _hardware_name(profile, model, gpu)
    on_cpu = gpu_name == CPU
    arguments = engine_arguments(profile, model, folder=model.path, on_cpu=on_cpu)
    target = Planned(
        found(model.path, "model.path", shapes),
        dtype=profile.dtype,
        quantization=loaded_as(arguments.get("quantization")),
        on_cpu=on_cpu,
    )
    drafter = _drafter(profile, shapes, on_cpu=on_cpu)
    if drafter is not None:
        drafter.check_method(profile.method, f"profiles.{profile.name}.method")
    shape = target.shape()
    draft = (drafter or target).draft(profile.method, shape)
    engine = Engine(
        target=shape,
        precision=target.precision,
        gpu=ANY_GPU,
        draft=draft,
        draft_precision=(drafter or target).precision,
        max_model_len=model.max_model_len,
        **_settings(profile, arguments, machine_share if on_cpu else None),
    )
    engine, memory = placed(engine, gpu_name, load)
    size = size_verdict(draft, shape)
    where = f"profiles.{profile.name}"
    heterogeneous = bool(profile.draft_options.get("use_heterogeneous_vocab"))
    problems = [
        *split_problems(engine),
        *pair_problems(target, drafter, profile.method, [profile.k], heterogeneous=heterogeneous),
        *(() if heterogeneous else tokenizers(target, drafter, draft).problems),
    ]
    each = memory.kv // profile.max_num_seqs // memory.kv_token if memory.starts else 0
    return {
        "profile": profile.name,
        "ok": memory.fits and not problems,
        "method": profile.method,
        "target": target.model.name,
        "drafter": drafter.model.name if drafter else None,
        "gpu": {
            "name": engine.gpu.name,
            "memory_gib": round(engine.gpu.memory_gib, 1),
            "chosen": gpu_name is None,
        },
        "gpus_per_engine": profile.gpus,
        "engines": profile.most_replicas,
        "load": {"context": load.context, "concurrency": load.concurrency},
        "memory": memory.as_dict(),
        "max_num_seqs": profile.max_num_seqs,
        "tokens_each_at_max_num_seqs": int(each),
        "size": size._asdict() if profile.speculative else None,
        "problems": [f"{where}: {problem}" for problem in problems],
        "warnings": [
            *target.warnings(parameters(shape).total),
            *([f"{where}: {size.words}"] if size.verdict == "flagged" else []),
        ],
    }


def _settings(profile: Profile, arguments: Mapping[str, Any], machine_share: float | None) -> dict[str, Any]:
    """What a profile and the vLLM arguments it becomes say of an engine, as fields of Engine.

    `machine_share` is the part of this machine's memory that an engine on its CPU has.
    """
    on_cpu = machine_share is not None
    gpus = 1 if on_cpu else profile.tensor_parallel_size
    engine_args, draft_options = (
        f"profiles.{profile.name}.engine_args",
        f"profiles.{profile.name}.draft_options",
    )
    utilization = _positive(arguments, "gpu_memory_utilization", engine_args) or DEFAULT_UTILIZATION
    batched = _positive(arguments, "max_num_batched_tokens", engine_args)
    kv_bytes = _positive(arguments, "kv_cache_memory_bytes", engine_args)
    draft_gpus = _positive(profile.draft_options, "draft_tensor_parallel_size", draft_options)
    return {
        "gpus": gpus,
        "draft_gpus": gpus if on_cpu or draft_gpus is None else int(draft_gpus),
        "k": profile.k,
        "max_num_seqs": profile.max_num_seqs,
        "max_num_batched_tokens": None if batched is None else int(batched),
        "utilization": machine_share or utilization,
        "kv_bytes": profile.kv_cache_gib * GIB if on_cpu else kv_bytes,
        "kv_value_bytes": 1 if str(arguments.get("kv_cache_dtype", "")).startswith(_FP8) else None,
        "eager": bool(arguments.get("enforce_eager")),
    }


def _positive(options: Mapping[str, Any], key: str, where: str) -> float | None:
    """An option that vLLM would take, which the deployment passes as it stands."""
    value = options.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ShapeError(f"{where}.{key}: expected a number above 0, not {str(value)[:40]!r}")
    return value


def _drafter(profile: Profile, shapes: Path | None, *, on_cpu: bool) -> Planned | None:
    if profile.draft_model is None:
        return None
    return Planned(
        found(profile.draft_model, f"profiles.{profile.name}.draft_model", shapes),
        dtype=profile.dtype,
        quantization=loaded_as(profile.draft_options.get("quantization")),
        on_cpu=on_cpu,
    )
