"""Every setting of the deployment as a table, made of the settings' own schema.

    python -m router.settings_reference docs/deployment.md

fills the page's part between its marks; a test compares.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from router.settings import DeploymentSettings

_REGION: Final = re.compile(r"(?<=<!-- settings -->\n).*?(?=<!-- /settings -->)", re.DOTALL)
_BOUNDS: Final = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_HEAD: Final = "| setting | default | what it says |\n|---|---|---|\n"

_Schema = Mapping[str, Any]


def rows() -> Iterator[tuple[str, str, str]]:
    """Path, default and meaning of every setting that can be written, those of a group after it."""
    schema = DeploymentSettings.model_json_schema()
    yield from _rows(schema, "", schema["$defs"])


def reference() -> str:
    """The rows as a table in Markdown."""
    lines = [f"| `{path}` | {default} | {said} |" for path, default, said in rows()]
    return _HEAD + "\n".join(lines) + "\n"


def filled(page: str) -> str:
    """The page with the table between its marks.

    Raises:
        ValueError: It has none.
    """
    made, count = _REGION.subn(lambda _: reference(), page)
    if count != 1:
        raise ValueError(
            "no place for the settings: put <!-- settings --> and <!-- /settings --> there, once"
        )
    return made


def _rows(schema: _Schema, path: str, known: Mapping[str, _Schema]) -> Iterator[tuple[str, str, str]]:
    required = schema.get("required", ())
    for name, found in schema["properties"].items():
        here = f"{path}{name}"
        inner, many = _inner(found, known)
        said = found.get("description") or (inner or {}).get("description", "")
        if inner is None or ("default" in found and found["default"] is None):
            default = "needed" if name in required else _default(found)
            yield here, default, _cell(said) + _bounds(found)
        else:
            yield here, "", _cell(said)
        if inner is not None:
            yield from _rows(inner, f"{here}[]." if many else f"{here}.", known)


def _inner(found: _Schema, known: Mapping[str, _Schema]) -> tuple[_Schema | None, bool]:
    """The group that a setting holds, if it holds one, and whether there may be many of it."""
    many = "items" in found
    for option in (found.get("items", found), *found.get("anyOf", ()), *found.get("allOf", ())):
        group = known.get(str(option.get("$ref", "")).rpartition("/")[2])
        if group is not None and "properties" in group:
            return group, many
    return None, many


def _default(found: _Schema) -> str:
    """As it would be written in the file; of what begins empty nothing."""
    value = found.get("default")
    return "" if value in (None, "", [], {}) else f"`{json.dumps(value)}`"


def _bounds(found: _Schema) -> str:
    for option in (found, *found.get("anyOf", ())):
        if told := [f"{sign} {option[key]:,}" for key, sign in _BOUNDS.items() if key in option]:
            return f" ({', '.join(told)})"
        if "enum" in option:
            return f" (one of {', '.join(f'`{value}`' for value in option['enum'])})"
    return ""


def _cell(text: str) -> str:
    """The first paragraph on one line; a docstring's marks are Markdown already."""
    return " ".join(text.partition("\n\n")[0].split()).replace("|", "\\|")


def main(arguments: list[str]) -> int:
    """Fill the page that is named."""
    (name,) = arguments
    page = Path(name)
    page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
