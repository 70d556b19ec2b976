"""What the contract allows but this version does not act on yet.

Such settings parse, so that their form is checked, and are then refused: a setting that is accepted must have
an effect. When a feature arrives, its line here goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from policies.problems import Path

NOT_YET: Final[Mapping[str, str]] = {
    "spec.canary": "remove it",
    "spec.tenants.*.segment": "remove it",
    "spec.tenants.*.self_service": "remove it",
}
"""Path → what to do instead. `*` is any key."""

MESSAGE: Final = "not acted on in this version"


def unsupported(values: Mapping[str, object]) -> Iterator[tuple[Path, str]]:
    """The settings that would have no effect, as path and hint. Empty groups ask for nothing and pass."""
    for pattern, hint in NOT_YET.items():
        for path, value in _matches(values, pattern.split("."), ()):
            if value not in ({}, []):
                yield path, hint


def _matches(value: object, pattern: list[str], path: Path) -> Iterator[tuple[Path, object]]:
    if not pattern:
        yield path, value
        return
    step, *rest = pattern
    if isinstance(value, Mapping):
        for key in [step] if step in value else list(value) if step == "*" else []:
            yield from _matches(value[key], rest, (*path, key))
