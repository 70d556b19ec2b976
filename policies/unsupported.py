"""What the contract allows but this version does not act on yet.

Such settings parse, so that their form is checked, and are then refused: a setting that is accepted must have
an effect. When a feature arrives, its line here goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from policies.problems import Path

NOT_YET: Final[Mapping[str, str]] = {
    "spec.mode=adaptive": "use threshold until adaptive mode arrives",
    "{layer}.objective": "it steers adaptive mode; remove it",
    "{layer}.k.mode=engine": "use adaptive or fixed",
    "spec.affinity": "remove it",
    "spec.custom_tasks": "remove them",
    "spec.schedules": "remove them",
    "spec.canary": "remove it",
    "spec.tenants.*.segment": "remove it",
    "spec.tenants.*.self_service": "remove it",
}
"""Path → what to do instead. `*` is any key, `{layer}` is spec and every override, `=` asks for a value."""

MESSAGE: Final = "not acted on in this version"

_LAYERS: Final = ("spec", "spec.schedules.*", "spec.tasks.*", "spec.tenants.*", "spec.tenants.*.tasks.*")


def unsupported(values: Mapping[str, object]) -> Iterator[tuple[Path, str]]:
    """The settings that would have no effect, as path and hint. Empty groups ask for nothing and pass."""
    for row, hint in NOT_YET.items():
        for layer in _LAYERS if row.startswith("{layer}") else ("",):
            pattern, _, wanted = row.format(layer=layer).partition("=")
            for path, value in _matches(values, pattern.split("."), ()):
                if value == wanted if wanted else value not in ({}, []):
                    yield path, hint


def _matches(value: object, pattern: list[str], path: Path) -> Iterator[tuple[Path, object]]:
    if not pattern:
        yield path, value
        return
    step, *rest = pattern
    if isinstance(value, Mapping):
        for key in [step] if step in value else list(value) if step == "*" else []:
            yield from _matches(value[key], rest, (*path, key))
    elif isinstance(value, list) and step == "*":
        for index, item in enumerate(value):
            yield from _matches(item, rest, (*path, index))
