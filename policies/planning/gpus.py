"""GPUs by name: memory, bandwidth and arithmetic.

Memory is what CUDA offers of it, as vLLM and PyTorch print it (`total capacity of 79.19 GiB`): error
correction and the driver take 1 to 8 % of the nominal figure. Bandwidth and dense 16-bit arithmetic are from
the makers' data sheets (NVIDIA A10G, L4, L40S, RTX 4090, A100, H100 SXM, H200, B200; AMD MI300X).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from policies.problems import choices_hint


class Gpu(NamedTuple):
    """One accelerator: GiB, GB/s and TFLOPS; the last two are None where they are not known."""

    name: str
    memory_gib: float
    bandwidth_gbs: float | None
    tflops: float | None

    @property
    def is_cpu(self) -> bool:
        """The machine itself."""
        return self.name == CPU


CPU: Final = "cpu"
_ALL: Final = (  # by memory
    Gpu("l4-24gb", 22.0, 300, 121),
    Gpu("a10g-24gb", 22.1, 600, 70),
    Gpu("rtx4090-24gb", 23.6, 1008, 165),
    Gpu("a100-40gb", 39.4, 1555, 312),
    Gpu("l40s-48gb", 44.4, 864, 362),
    Gpu("a100-80gb", 79.1, 2039, 312),
    Gpu("h100-80gb", 79.1, 3350, 989),
    Gpu("h200-141gb", 139.7, 4800, 989),
    Gpu("b200-180gb", 178.3, 8000, 2250),
    Gpu("mi300x-192gb", 191.5, 5300, 1307),
)
GPUS: Final[Mapping[str, Gpu]] = {gpu.name: gpu for gpu in _ALL}


class GpuError(ValueError):
    """A GPU that is not known; one line that names those that are."""


def gpu_named(name: str) -> Gpu:
    """The GPU of this name; its first part does where only one begins like that (`l4`, `h100`).

    Raises:
        GpuError: None has it, or several.
    """
    wanted = name.strip().lower()
    found = [gpu for gpu in _ALL if gpu.name == wanted or gpu.name.split("-")[0] == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        raise GpuError(f"gpu: {name!r} is one of {', '.join(gpu.name for gpu in found)}: say which")
    raise GpuError(f"gpu: {name!r} is unknown; {choices_hint(wanted, [*GPUS, CPU])}")
