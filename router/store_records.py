"""Names and texts of stored cells: Redis keys, and the record as the Lua scripts hand it over."""

from __future__ import annotations

import math
from typing import get_args
from urllib.parse import quote, unquote

from policies.cells import CellDelta, CellKey, CellRecord, TemperatureBucket

RECORD_VERSION = 1

_CELL_PARTS = 3
_TENANT_CELL_PARTS = 5
_TEMPERATURES: dict[str, TemperatureBucket] = {name: name for name in get_args(TemperatureBucket)}


class KeyNames:
    """The Redis keys of one model's statistics.

    All share the hash tag `{model}`, so one script may touch several on a cluster. Every part is
    percent-encoded: a ':' or '}' in a tenant's name cannot reach into another key.
    """

    def __init__(self, model: str) -> None:
        # '/' is common in model names, harmless inside a hash tag, and worth reading plainly.
        self.prefix = f"specroute:{{{quote(model, safe='/', errors='surrogatepass')}}}:v1:"
        self.sequence = self.prefix + "sequence"
        self.changed = self.prefix + "changed"
        self._cells = self.prefix + "accept:"

    def cell(self, key: CellKey) -> str:
        """The key of a cell's hash."""
        name = f"{self._cells}{_encoded(key.profile)}:{_encoded(key.task)}:{key.temperature}"
        return name if key.tenant is None else f"{name}:tenant:{_encoded(key.tenant)}"

    def flush(self, writer: str) -> str:
        """The key that holds the last flush number of a writer."""
        return f"{self.prefix}flush:{_encoded(writer)}"

    def parse_cell(self, name: str) -> CellKey | None:
        """The cell a Redis key names, None when it names none."""
        if not name.startswith(self._cells):
            return None
        parts = name.removeprefix(self._cells).split(":")
        if len(parts) not in {_CELL_PARTS, _TENANT_CELL_PARTS} or parts[2] not in _TEMPERATURES:
            return None
        if len(parts) == _TENANT_CELL_PARTS and parts[3] != "tenant":
            return None
        tenant = _decoded(parts[4]) if len(parts) == _TENANT_CELL_PARTS else None
        return CellKey(_decoded(parts[0]), _decoded(parts[1]), _TEMPERATURES[parts[2]], tenant)


def delta_text(delta: CellDelta) -> str:
    """Half-life, field, value, field, value …, one a line, numbers written so that they read back exactly.

    Raises:
        ValueError: A counter that is not finite, a half-life that is not positive, or a name with a newline.
    """
    if not (math.isfinite(delta.half_life_s) and delta.half_life_s > 0):
        raise ValueError(f"half_life_s must be positive and finite, got {delta.half_life_s!r}")
    lines = [f"{delta.half_life_s:.17g}"]
    for name, value in delta.counters.items():
        if not math.isfinite(value):
            raise ValueError(f"counter {name!r} must be finite, got {value!r}")
        lines += (_field("c", name), f"{value:.17g}")
    for name, count in delta.lifetime.items():
        lines += (_field("l", name), f"{count:d}")
    return "\n".join(lines)


def parse_record(text: bytes) -> tuple[CellRecord, int]:
    """A record from the scripts' reply (field, newline, value …), and how many garbage fields it held.

    Raises:
        ValueError: The record's version is not ours.
    """
    words = text.decode("utf-8", "replace").split("\n")
    fields = dict(zip(words[::2], words[1::2], strict=False))
    version = fields.get("v")
    if version != str(RECORD_VERSION):
        raise ValueError(f"record version {version!r}")
    counters: dict[str, float] = {}
    lifetime: dict[str, int] = {}
    garbage = 0
    for field, value in fields.items():
        kind, _, name = field.partition(":")
        if kind not in {"c", "l"} or not name:
            continue  # v, t, e and what later versions may add
        number = _number(value)
        if number is None or (kind == "l" and not number.is_integer()):
            garbage += 1
        elif kind == "c":
            counters[name] = number
        else:
            lifetime[name] = int(number)
    updated_at_s = _number(fields.get("t", ""))
    epoch = _number(fields.get("e", "0"))
    garbage += (updated_at_s is None) + (epoch is None)
    if updated_at_s is None:
        counters = {}  # evidence of unknown age is no evidence
    return CellRecord(counters, lifetime, updated_at_s or 0.0, int(epoch or 0)), garbage


def _field(kind: str, name: str) -> str:
    if not name or "\n" in name:
        raise ValueError(f"counter name {name!r} is empty or holds a newline")
    return f"{kind}:{name}"


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _encoded(part: str) -> str:
    return quote(part, safe="", errors="surrogatepass")


def _decoded(part: str) -> str:
    return unquote(part, errors="surrogatepass")
