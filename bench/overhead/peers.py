"""The peers: routers of others, each in an environment of its own under one folder."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

PINNED: Final = {
    "vllm-router": "vllm-router==0.1.17",
    # Not the newest, on purpose: 1.82.7, 1.82.8 and 1.107.0 were withdrawn because of what others had put in.
    "litellm": "litellm[proxy]==1.100.5",
}
"""What is installed for each peer. What it depends on is the newest that fits; the report records it all."""


def install(folder: Path) -> None:
    """Make the environment of every peer below `folder`, unless it is there.

    Raises:
        subprocess.CalledProcessError: pip could not install one of them, and has said why.
    """
    for name, requirement in PINNED.items():
        place = folder / name
        if installed(place, name):
            continue
        print(f"installing {requirement} in {place}", file=sys.stderr)
        venv.create(place, with_pip=True, clear=True)
        # Wheels only: nothing of theirs is run while it is installed.
        pip = [str(place / "bin" / "python"), "-m", "pip", "install", "-q", "--no-input"]
        subprocess.run([*pip, "--only-binary", ":all:", requirement], check=True)


def installed(place: Path, name: str) -> bool:
    """Whether the peer's program is there."""
    return (place / "bin" / name).exists()


def packages(place: Path) -> dict[str, str]:
    """The versions of all that is in the environment of an installed peer."""
    pip = [str(place / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "list", "--format=json"]
    listed = json.loads(subprocess.run(pip, check=True, capture_output=True, text=True).stdout)
    return {entry["name"]: entry["version"] for entry in listed}
