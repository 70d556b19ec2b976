"""YAML text into plain values, with the position of every key. The only module that knows YAML.

Stricter than YAML 1.1 where it surprises people: `yes`, `on`, `010`, `18:00` and dates are refused with the
way to write what was meant; so are aliases, tags, merge keys, repeated keys and keys without a value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import yaml

from policies.problems import MAX_PROBLEMS, Path, PolicyError, Problem, format_path, show
from policies.yaml_nodes import ALIAS, TAGGED, compose

MAX_BYTES: Final = 1024 * 1024

_YAML = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+][0-9]+)?")
_KINDS = {
    "bool": "a boolean",
    "int": "a number",
    "float": "a number",
    "null": "nothing",
    "timestamp": "a date",
}


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a text, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Tree:
    """A file's values, where its keys stand, and what was wrong with the text.

    Values that were refused are absent; their paths are in `refused`.
    """

    source: str
    values: Mapping[str, object]
    positions: Mapping[Path, Position]
    problems: tuple[Problem, ...]
    refused: frozenset[Path]

    def problem(self, path: Path, message: str, hint: str = "") -> Problem:
        """A problem at a path, placed at the key or at the nearest enclosing key that is in the text."""
        at = path
        while at and at not in self.positions:
            at = at[:-1]
        position = self.positions[at]
        return Problem(self.source, position.line, position.column, format_path(path), message, hint)


def read_tree(text: str | bytes, source: str) -> Tree:
    """The values and positions of one YAML document whose root is a mapping.

    Raises:
        PolicyError: The text has no such document. Smaller problems are in the tree.
    """
    node = compose(_decoded(text, source), source)
    if not isinstance(node, yaml.MappingNode):
        kind = "a list" if isinstance(node, yaml.SequenceNode) else "a single value"
        kind = f"the YAML tag {_tag(node)}" if node.tag == TAGGED else kind
        message = f"expected a mapping at the top, got {kind}"
        raise PolicyError([_at(source, node.start_mark, message, "start with apiVersion: specroute/v1")])
    reader = _Reader(source)
    values = reader.mapping(node, ())
    return Tree(source, values, reader.positions, tuple(reader.problems), frozenset(reader.refused))


def _decoded(text: str | bytes, source: str) -> str:
    size = len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise PolicyError([Problem(source, 1, 1, "", f"{size} bytes are too many", f"at most {MAX_BYTES}")])
    if isinstance(text, str):
        return text
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = text[: error.start].decode("utf-8", "replace")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        problem = Problem(source, line, column, "", "not UTF-8 text", "save the file as UTF-8")
        raise PolicyError([problem]) from None


def _at(source: str, mark: yaml.Mark, message: str, hint: str = "", path: Path = ()) -> Problem:
    return Problem(source, mark.line + 1, mark.column + 1, format_path(path), message, hint)


def _tag(node: yaml.Node) -> str:
    return show(str(node.value).replace(_YAML, "!!"))


class _Refused(Exception):  # noqa: N818 (it says that a value was refused and reported; it is no error)
    pass


@dataclass(slots=True)
class _Reader:
    """Turns nodes into values, noting positions and problems on the way."""

    source: str
    positions: dict[Path, Position] = field(default_factory=lambda: {(): Position(1, 1)})
    problems: list[Problem] = field(default_factory=list)
    refused: set[Path] = field(default_factory=set)

    def mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, object]:
        values: dict[str, object] = {}
        for key_node, value_node in node.value:
            try:
                key = self._key(key_node, path)
                child = (*path, key)
                if (first := self.positions.get(child)) is not None:
                    place = f"line {first.line}, column {first.column}"
                    raise self._refuse(key_node, child, "duplicate key", f"the first stands at {place}")
                self._note(key_node, child)
                values[key] = self._value(value_node, child)
            except _Refused:
                continue
        return values

    def _value(self, node: yaml.Node, path: Path) -> object:
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return self._list(node, path)
        return self._scalar(node, path)

    def _list(self, node: yaml.SequenceNode, path: Path) -> list[object]:
        # A refused item refuses its list (dropping it would move the positions of those behind it), once the
        # other items have been looked at.
        values: list[object] = []
        refused: _Refused | None = None
        for index, item in enumerate(node.value):
            child = (*path, index)
            self._note(item, child)
            try:
                values.append(self._value(item, child))
            except _Refused as refusal:
                refused = refusal
        if refused is not None:
            self.refused.add(path)
            raise refused
        return values

    def _key(self, node: yaml.Node, path: Path) -> str:
        if node.tag == f"{_YAML}merge":
            raise self._refuse(node, path, "merge keys (<<) are not supported", "write the values out")
        if not isinstance(node, yaml.ScalarNode):
            raise self._refuse(node, path, "a key must be a single word")
        self._refuse_marked(node, path)
        text: str = node.value
        kind = node.tag.removeprefix(_YAML)
        if kind in _KINDS:
            message = f"YAML reads the key {show(text)} as {_KINDS[kind]}"
            raise self._refuse(node, (*path, text), message, f'quote it: "{text}"' if text else "name it")
        return text

    def _scalar(self, node: yaml.Node, path: Path) -> object:
        self._refuse_marked(node, path)
        text: str = node.value
        kind = node.tag.removeprefix(_YAML)
        if kind == "null":
            raise self._refuse(node, path, "has no value", "give it one, or remove the key")
        if kind == "bool" and text.lower() not in {"true", "false"}:
            hint = f'write true or false, or "{text}" in quotes for the word'
            raise self._refuse(node, path, f"YAML reads {show(text)} as a boolean", hint)
        if kind == "bool":
            return text.lower() == "true"
        if kind == "int" and _INTEGER.fullmatch(text):
            return int(text)
        if kind == "float" and _FLOAT.fullmatch(text):
            return float(text)
        if kind in {"int", "float"} and ":" in text:
            hint = f'quote a time of day: "{text}"'
            raise self._refuse(node, path, f"YAML reads {show(text)} as a number in base 60", hint)
        if kind in {"int", "float"}:
            raise self._refuse(node, path, f"{show(text)} is not a plain decimal number")
        if kind == "timestamp":
            raise self._refuse(node, path, f"YAML reads {show(text)} as a date", f'quote it: "{text}"')
        return text

    def _refuse_marked(self, node: yaml.Node, path: Path) -> None:
        if node.tag == ALIAS:
            hint = "write the values out"
            raise self._refuse(node, path, f"aliases (*{node.value}) are not supported", hint)
        if node.tag == TAGGED:
            raise self._refuse(node, path, f"the YAML tag {_tag(node)} is not supported", "remove it")

    def _note(self, node: yaml.Node, path: Path) -> None:
        self.positions[path] = Position(node.start_mark.line + 1, node.start_mark.column + 1)

    def _refuse(self, node: yaml.Node, path: Path, message: str, hint: str = "") -> _Refused:
        self.problems.append(_at(self.source, node.start_mark, message, hint, path))
        if len(self.problems) > MAX_PROBLEMS:
            raise PolicyError(self.problems)
        self.refused.add(path)
        return _Refused()
