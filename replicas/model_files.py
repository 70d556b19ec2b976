"""Models as files: their configuration, and the weights that lie beside it, by their headers only."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

from policies.planning.known import known_config, unknown_hint
from replicas.model_store import SMOLLM2, default_cache_dir
from replicas.profiles import EMBEDDED

CONFIG: Final = "config.json"
_INDEX: Final = "model.safetensors.index.json"
_LENGTH: Final = struct.Struct("<Q")
_MAX_HEADER_BYTES: Final = 100 * 2**20
_PICKLED: Final = ("*.bin", "*.pt")
_TRAINING: Final = frozenset(
    {"training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt", "scaler.pt"}
)
_PICKLED_INDEX: Final = "pytorch_model.bin.index.json"
_ZIP: Final = b"PK"


class ModelFilesError(Exception):
    """A model that cannot be read; one line that names the file and what to do."""


@dataclass(frozen=True, slots=True)
class StoredWeights:
    """Weights on disk: how many numbers, in how many bytes, and what the tensors are called."""

    parameters: int
    size_bytes: int
    names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Model:
    """A model by its files, or by its name alone.

    `folder` is None where only the shape is known; `stored` where no weights lie in the folder.
    """

    name: str
    config: Mapping[str, Any]
    folder: Path | None = None
    stored: StoredWeights | None = None


def find_model(name: str, shapes: Path | None = None) -> Model:
    """The model that `name` stands for: a folder (or its config.json), `embedded`, or a published one.

    `shapes` is a folder of further folders: a model that is not here is looked up there by its last name.

    Raises:
        ModelFilesError: Nothing is called so, or its files cannot be read.
    """
    if name == EMBEDDED:
        with suppress(ModelFilesError):  # missing or damaged: it is prepared anew before it is used
            return _of_folder(_embedded_folder(), SMOLLM2.name)
        name = SMOLLM2.name
    path = Path(name)
    try:
        if path.is_dir() or path.name == CONFIG:
            return _of_folder(path if path.is_dir() else path.parent)
        if path.is_file():
            raise ModelFilesError(f"{name}: a file; name the model's folder, or its config.json")
    except OSError as error:
        raise ModelFilesError(f"{name[:80]}: {error.strerror or error}") from None
    if shapes is not None and (shapes / path.name / CONFIG).is_file():
        return _of_folder(shapes / path.name)
    if (known := known_config(name)) is not None:
        return Model(*known)
    raise ModelFilesError(f"{name}: no such folder, and no model of this name is known; {unknown_hint(name)}")


def described(name: str) -> Model | None:
    """The model of a deployment's `model.path`, without its weights; None where nothing is known of it.

    One that is not here, or not prepared yet, is known by its name.
    """
    folder = _embedded_folder() if name == EMBEDDED else Path(name)
    with suppress(ModelFilesError):
        return Model(folder.name, read_object(folder / CONFIG), folder)
    known = known_config(SMOLLM2.name if name == EMBEDDED else name)
    return None if known is None else Model(*known)


def _embedded_folder() -> Path:
    return default_cache_dir() / SMOLLM2.folder


def _of_folder(folder: Path, name: str | None = None) -> Model:
    config = read_object(folder / CONFIG)
    return Model(name or folder.resolve().name, config, folder, stored_weights(folder))


def read_object(file: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ModelFilesError: It is missing, unreadable, or something else.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFilesError(f"{file}: {getattr(error, 'strerror', None) or 'not text'}") from None
    except (ValueError, RecursionError) as error:
        where = f" ({error.msg}, line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise ModelFilesError(f"{file}: not JSON{where}: download it again") from None
    if not isinstance(document, dict):
        raise ModelFilesError(f"{file}: expected a JSON object: download it again")
    return document


def check_weights(folder: Path) -> None:
    """Sees whether a folder has whole weights, in a format that vLLM looks for.

    Raises:
        ModelFilesError: There are none, or a file is missing, damaged or of another size than it says.
    """
    stored = stored_weights(folder)
    if stored is not None and stored.parameters:
        return
    found = [file for pattern in _PICKLED for file in sorted(folder.glob(pattern))]
    files = _of_index(folder / _PICKLED_INDEX, [file for file in found if file.name not in _TRAINING])
    if not files:
        raise ModelFilesError(
            f"{folder}: no weights there (no *.safetensors, *.bin or *.pt): download them, "
            "or name the folder that has them"
        )
    for file in files:
        _check_pickled(file)


def _check_pickled(file: Path) -> None:
    """What PyTorch saves is a ZIP file, whose end lists what it holds; very old ones are not."""
    try:
        with file.open("rb") as stream:
            start = stream.read(len(_ZIP))
        is_whole = bool(start) and (start != _ZIP or zipfile.is_zipfile(file))
    except OSError as error:
        raise ModelFilesError(f"{file}: {error.strerror or error}") from None
    if not is_whole:
        raise ModelFilesError(f"{file}: damaged or not whole: download it again")


def stored_weights(folder: Path) -> StoredWeights | None:
    """What the safetensors files of a folder hold; None where there are none.

    Raises:
        ModelFilesError: A file is damaged or of another size than its header says, or one of the index is
            missing.
    """
    files = _of_index(folder / _INDEX, sorted(folder.glob("*.safetensors")))
    if not files:
        return None
    tensors = [tensor for file in files for tensor in _tensors(file)]
    return StoredWeights(
        sum(count for _, count, _ in tensors),
        sum(size for _, _, size in tensors),
        frozenset(name for name, _, _ in tensors),
    )


def _of_index(index: Path, files: list[Path]) -> list[Path]:
    """Those of the files that the index names, all where there is none."""
    if not files or not index.is_file():
        return files
    weights = read_object(index).get("weight_map")
    named = {str(file) for file in weights.values()} if isinstance(weights, dict) else set()
    if missing := sorted(named - {file.name for file in files}):
        raise ModelFilesError(
            f"{index.with_name(missing[0])}: missing, {len(missing)} of {len(named)} files: download the rest"
        )
    return [file for file in files if file.name in named] or files


def _tensors(file: Path) -> Iterator[tuple[str, int, int]]:
    """Name, numbers and bytes of every tensor, from the header: eight bytes of length, then JSON."""
    try:
        actual = file.stat().st_size
        with file.open("rb") as stream:
            (length,) = _LENGTH.unpack(stream.read(_LENGTH.size))
            header = json.loads(stream.read(min(length, _MAX_HEADER_BYTES)))
        found = [
            (name, prod(tensor["shape"]), tensor["data_offsets"][1] - tensor["data_offsets"][0])
            for name, tensor in header.items()
            if name != "__metadata__"
        ]
        ends = max((t["data_offsets"][1] for name, t in header.items() if name != "__metadata__"), default=0)
    except OSError as error:
        raise ModelFilesError(f"{file}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, struct.error, RecursionError):
        raise ModelFilesError(f"{file}: damaged: no safetensors file: download it again") from None
    if (expected := _LENGTH.size + length + ends) != actual:
        raise ModelFilesError(f"{file}: {actual} of {expected} bytes: download it again")
    yield from found
