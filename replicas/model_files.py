"""Models as files: their configuration, and the weights that lie beside it, by their headers only."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

from policies.planning.known import known_config, unknown_hint
from replicas.model_store import SMOLLM2, default_cache_dir
from replicas.profiles import EMBEDDED

_CONFIG: Final = "config.json"
_INDEX: Final = "model.safetensors.index.json"
_LENGTH: Final = struct.Struct("<Q")
_MAX_HEADER_BYTES: Final = 100 * 2**20


class ModelFilesError(Exception):
    """A model that cannot be read; one line that names the file and what to do."""


@dataclass(frozen=True, slots=True)
class StoredWeights:
    """Weights on disk: how many numbers, in how many bytes."""

    parameters: int
    size_bytes: int


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
        folder = default_cache_dir() / SMOLLM2.folder
        if (folder / _CONFIG).is_file():
            return _of_folder(folder, SMOLLM2.name)
        name = SMOLLM2.name
    path = Path(name)
    try:
        if path.is_dir() or path.name == _CONFIG:
            return _of_folder(path if path.is_dir() else path.parent)
        if path.is_file():
            raise ModelFilesError(f"{name}: a file; name the model's folder, or its config.json")
    except OSError as error:
        raise ModelFilesError(f"{name[:80]}: {error.strerror or error}") from None
    if shapes is not None and (shapes / path.name / _CONFIG).is_file():
        return _of_folder(shapes / path.name)
    if (known := known_config(name)) is not None:
        return Model(*known)
    raise ModelFilesError(f"{name}: no such folder, and no model of this name is known; {unknown_hint(name)}")


def _of_folder(folder: Path, name: str | None = None) -> Model:
    config = read_object(folder / _CONFIG)
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
        raise ModelFilesError(f"{file}: not JSON{where}") from None
    if not isinstance(document, dict):
        raise ModelFilesError(f"{file}: expected a JSON object")
    return document


def stored_weights(folder: Path) -> StoredWeights | None:
    """What the safetensors files of a folder hold; None where there are none.

    Raises:
        ModelFilesError: A file is damaged or shorter than its header says, or one of the index is missing.
    """
    files = sorted(folder.glob("*.safetensors"))
    if (folder / _INDEX).is_file():
        weights = read_object(folder / _INDEX).get("weight_map")
        named = sorted({str(file) for file in weights.values()}) if isinstance(weights, dict) else []
        here = {file.name for file in files}
        if files and (missing := [name for name in named if name not in here]):
            raise ModelFilesError(
                f"{folder / missing[0]}: missing, {len(missing)} of {len(named)} files: download the rest"
            )
        files = [folder / name for name in named if name in here] or files
    if not files:
        return None
    tensors = [tensor for file in files for tensor in _tensors(file)]
    return StoredWeights(sum(count for count, _ in tensors), sum(size for _, size in tensors))


def _tensors(file: Path) -> Iterator[tuple[int, int]]:
    """Numbers and bytes of every tensor, from the header: eight bytes of length, then JSON."""
    try:
        actual = file.stat().st_size
        with file.open("rb") as stream:
            (length,) = _LENGTH.unpack(stream.read(_LENGTH.size))
            header = json.loads(stream.read(min(length, _MAX_HEADER_BYTES)))
        found = [
            (prod(tensor["shape"]), tensor["data_offsets"][1] - tensor["data_offsets"][0])
            for name, tensor in header.items()
            if name != "__metadata__"
        ]
        ends = max((t["data_offsets"][1] for name, t in header.items() if name != "__metadata__"), default=0)
    except OSError as error:
        raise ModelFilesError(f"{file}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, struct.error, RecursionError):
        raise ModelFilesError(f"{file}: damaged: no safetensors file: download it again") from None
    if (expected := _LENGTH.size + length + ends) > actual:
        raise ModelFilesError(f"{file}: {actual} of {expected} bytes: download it again")
    yield from found
