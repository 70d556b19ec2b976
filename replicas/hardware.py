"""What this machine offers to engines, and how it is shared out between them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from replicas.profiles import Profile

_CORES_VARIABLE = "SPECROUTE_CPU_CORES"
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


def bound_cores() -> tuple[int, ...]:
    """The cores `cpu_environment` gave this process's replica; empty where it gave none."""
    return tuple(int(core) for core in os.environ.get(_CORES_VARIABLE, "").split(",") if core)


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
