"""What this machine offers to engines, and how it is shared out between them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from replicas.drafting import METHODS
from replicas.profiles import Profile

_CORES_VARIABLE = "SPECROUTE_CPU_CORES"
_RUNNER_VARIABLE = "VLLM_USE_V2_MODEL_RUNNER"
_DRIVERS = ("/proc/driver/nvidia", "/dev/dxg")


def available_cores() -> tuple[int, ...]:
    """The cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def assign_cores(profiles: Sequence[Profile], cores: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Cores for each profile's replicas: those it names, else an equal part of the others.

    With fewer cores than profiles, engines share. Raises ValueError for a core this machine does not have.
    """
    named = {core for profile in profiles for core in profile.cpu_cores or ()}
    for profile in profiles:
        if missing := [core for core in profile.cpu_cores or () if core not in cores]:
            raise ValueError(
                f"profiles.{profile.name}.cpu_cores: core {missing[0]} is not available; "
                f"this machine offers {', '.join(map(str, cores))}"
            )
    free = [core for core in cores if core not in named] or list(cores)
    sharing = [profile for profile in profiles if profile.cpu_cores is None]
    share = max(1, len(free) // max(1, len(sharing)))
    assigned = {profile.name: profile.cpu_cores for profile in profiles if profile.cpu_cores is not None}
    for number, profile in enumerate(sharing):
        start = number * share % len(free)
        assigned[profile.name] = tuple(free[start : start + share])
    return assigned


def cpu_environment(profile: Profile, cores: Sequence[int]) -> dict[str, str]:
    """Environment variables of a replica on a CPU machine.

    The worker binds itself to the given cores (`replicas.cpu_worker`). Intel's OpenMP, when installed, is
    preloaded: vLLM's guide to CPU installation asks for it, above all for speculative decoding. Its threads
    sleep soon after their work, as vLLM sets it.
    """
    variables = {
        _CORES_VARIABLE: ",".join(str(core) for core in cores),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        # vLLM keeps the worker in the engine core's process only where this is 0.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "KMP_BLOCKTIME": "5",
        "KMP_TPAUSE": "0",
        "VLLM_CPU_KVCACHE_SPACE": str(profile.kv_cache_gib),
        "OMP_NUM_THREADS": str(len(cores)),
        "TOKENIZERS_PARALLELISM": "false",
    }
    if (library := intel_openmp()) is not None:
        variables["LD_PRELOAD"] = str(library)
    return variables


def gpu_environment(profile: Profile, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Environment variables of a replica on GPUs.

    vLLM has two model runners there. The second one's n-gram drafter proposes k tokens in every step, copied
    or not, so that nothing would be known of its coverage, and its drafting models run for all k whatever the
    batch asks for. Those methods get the first, unless `environment` has chosen already.
    """
    if _RUNNER_VARIABLE in environment or not METHODS[profile.method].first_runner:
        return {}
    return {_RUNNER_VARIABLE: "0"}


def bound_cores() -> tuple[int, ...]:
    """The cores `cpu_environment` gave this process's replica; empty where it gave none."""
    return tuple(int(core) for core in os.environ.get(_CORES_VARIABLE, "").split(",") if core)


def part_of(cores: Sequence[int], place: int, engines: int) -> tuple[int, ...]:
    """The equal part of `cores` for the engine at `place` of so many; with fewer cores, engines share."""
    share = max(1, len(cores) // engines)
    start = place % engines * share % len(cores)
    return tuple(cores[start : start + share])


def take_part(profile: Profile, place: int) -> None:
    """Keep the engine that this process starts to its own part of its pool's cores.

    Engines of one pool would else have threads on the same cores each, and wait for each other busily within
    every step. Cores that the profile names are those of every replica, and stay so. `place` is the replica's
    among those of its pool on this machine.
    """
    cores = bound_cores()
    if cores and profile.cpu_cores is None:
        own = part_of(cores, place, profile.most_replicas)
        os.environ[_CORES_VARIABLE] = ",".join(map(str, own))
        os.environ["OMP_NUM_THREADS"] = str(len(own))


def intel_openmp() -> Path | None:
    """Intel's OpenMP library in this environment, if it is installed."""
    library = Path(sys.prefix) / "lib" / "libiomp5.so"
    return library if library.exists() else None


def gpus_here() -> int:
    """How many CUDA devices can be used here. With a driver that imports torch, which takes seconds."""
    if not any(Path(path).exists() for path in _DRIVERS) or find_spec("torch") is None:
        return 0
    import torch  # noqa: PLC0415 - only where the answer is wanted

    return int(torch.cuda.device_count())
