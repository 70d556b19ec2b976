"""Weights on disk, as tests need them."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any


def write_safetensors(file: Path, shapes: Mapping[str, tuple[int, ...]], *, cut: int = 0) -> None:
    """A file with float32 zeros of these shapes, without its last `cut` bytes; or with more, where negative."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, dimensions in shapes.items():
        size = 4 * prod(dimensions)
        header[name] = {"dtype": "F32", "shape": dimensions, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    data = struct.pack("<Q", len(text)) + text + bytes(end + max(0, -cut))
    file.write_bytes(data[: len(data) - max(0, cut)])
