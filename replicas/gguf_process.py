"""Runs `gguf_convert` as a process of its own and relays what it reports."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from replicas.gguf_convert import Progress

PACKAGES = ("torch", "transformers", "gguf", "accelerate")
"""What the converter imports; accelerate because transformers asks for it when it reads a GGUF."""

_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


class ConversionError(Exception):
    """The converter ended with an error; the message is its reason, one line."""


def convert_in_process(source: Path, folder: Path, progress: Progress) -> None:
    """Converts `source` into `folder` (see `gguf_convert.convert`), without network and without a GPU.

    Raises:
        ConversionError: A package is missing or the conversion failed.
    """
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise ConversionError(
                f"{package} is not installed: pip install --no-deps -r requirements/cpu.lock"
            )
    command = [sys.executable, "-P", "-m", "replicas.gguf_convert", str(source), str(folder)]
    # stderr (progress bars, warnings) goes to a file: a pipe that nobody reads would fill up and stop it.
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            env=_environment(),
            text=True,
        ) as process:
            try:
                for line in process.stdout or ():
                    stage, _, fraction = line.rstrip("\n").partition("\t")
                    progress(stage, float(fraction))
            except BaseException:
                process.kill()
                raise
        if process.returncode != 0:
            errors.seek(0)
            raise ConversionError(_reason(errors.read(), process.returncode))


def _environment() -> dict[str, str]:
    """Ours, offline, with no GPU to initialise, and with this package importable from where it was loaded."""
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return {**os.environ, **_OFFLINE, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path}


def _reason(errors: str, code: int) -> str:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    if code < 0:
        return (
            f"the converter was killed by signal {-code} (9 is often a lack of memory: it needs about 2 GB)"
        )
    return lines[-1] if lines else f"the converter ended with code {code}"
