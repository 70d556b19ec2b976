"""Changes values in a policy's text and leaves everything else as it stands: comments, order, style.

What is absent is added in the style of where it goes: a line of its own in a block mapping, an entry in a
flow mapping (`{…}`). JSON, which is YAML, stays JSON. The text must be one that `policies.yaml_tree` reads
without problems, so that it has no aliases, tags or repeated keys.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import yaml

_BLOCKS: Final = ("|", ">")

Value = float | int | str | bool | Mapping[str, "Value"]
_Writer = Callable[[Value], str]


class _Edit(NamedTuple):
    start: int
    end: int
    text: str


def with_values(text: str, path: Sequence[str], values: Mapping[str, Value]) -> str:
    """The text with these entries in the mapping at a path, which is made where it is absent.

    Args:
        text: One YAML document whose root is a mapping.
        path: Keys from the root; every value on the way that exists is a mapping.
        values: The entries to set.

    Raises:
        TypeError: A value on the way is no mapping.
    """
    written = _json if _is_json(text) else _yaml
    for key, value in values.items():
        edit = _edit(text, (*path, key), value, written)
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def _edit(text: str, path: Sequence[str], value: Value, written: _Writer) -> _Edit:
    node = _mapping(yaml.compose(text, Loader=yaml.SafeLoader))
    for depth, key in enumerate(path):
        found = _entry(node, key)
        if found is None:
            missing: Value = value
            for step in reversed(path[depth + 1 :]):
                missing = {step: missing}
            return _added(text, node, f"{written(key)}: {written(missing)}")
        if depth + 1 == len(path):
            return _replaced(text, *found, written(value))
        node = _mapping(found[1])
    raise ValueError("an empty path names no entry")


def _mapping(node: yaml.Node | None) -> yaml.MappingNode:
    if not isinstance(node, yaml.MappingNode):
        raise TypeError("a value on the way is no mapping")
    return node


def _entry(node: yaml.MappingNode, key: str) -> tuple[yaml.Node, yaml.Node] | None:
    return next(((name, value) for name, value in node.value if name.value == key), None)


def _replaced(text: str, key: yaml.Node, node: yaml.Node, value: str) -> _Edit:
    if not isinstance(node, yaml.CollectionNode) or node.flow_style:
        return _Edit(node.start_mark.index, _end(node), value)
    # What replaces a block stands in the line of its key.
    return _Edit(text.index(":", _end(key)) + 1, _end(node), f" {value}")


def _added(text: str, node: yaml.MappingNode, entry: str) -> _Edit:
    if node.flow_style:
        # Before the closing brace, but not behind the spaces or the comma that may stand before it.
        last = node.value[-1][1] if node.value else None
        at = _end(last) if last is not None else node.start_mark.index + 1
        return _Edit(at, at, f", {entry}" if last is not None else entry)
    first, last = node.value[0][0], node.value[-1][1]
    at = text.find("\n", _end(last))
    newline = "\r\n" if "\r\n" in text else "\n"
    line = f"{' ' * first.start_mark.column}{entry}"
    if at < 0:
        return _Edit(len(text), len(text), newline + line)
    return _Edit(at + 1, at + 1, line + newline)


def _end(node: yaml.Node) -> int:
    """Where a node's own text ends; the marks of blocks lie at the beginning of what follows them."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style:
        return _end(node.value[-1][1])
    if isinstance(node, yaml.SequenceNode) and not node.flow_style:
        return _end(node.value[-1])
    index: int = node.end_mark.index
    return index - 1 if isinstance(node, yaml.ScalarNode) and node.style in _BLOCKS else index


def _is_json(text: str) -> bool:
    try:
        json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return False
    return True


def _json(value: Value) -> str:
    return json.dumps(value, ensure_ascii=False)


def _yaml(value: Value) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(key)}: {_yaml(each)}" for key, each in value.items()) + "}"
    return _scalar(value)


def _scalar(value: float | str) -> str:
    """A value on one line, quoted where YAML would read something else."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
