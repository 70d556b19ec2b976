"""Lua scripts of the store, and what runs them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text, and the SHA-1 by which Redis knows it."""

    source: str
    sha: str


def load_script(*files: str) -> Script:
    """The script that these files of `router/lua` make, one after the other."""
    folder = resources.files("router") / "lua"
    source = "\n".join((folder / file).read_text("utf-8") for file in files)
    # Redis names scripts by their SHA-1; nothing is protected by it.
    return Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


class StoreConnection(Protocol):
    """A store's connection as other parts of it use it: within time limits, behind the circuit breaker."""

    async def run_script(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes]) -> Any:
        """The script's reply. Raises StoreUnavailableError."""
        ...

    async def command(self, *words: str | int) -> Any:
        """The command's reply. Raises StoreUnavailableError."""
        ...
