"""Pydantic's errors in people's words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from pydantic_core import ErrorDetails

from policies.base import PolicyModel
from policies.json_schema import allowed_keys
from policies.problems import VIOLATION, Path, Violation, choices_hint, show
from policies.schema import RoutingPolicy

_EXPECTED: Final[Mapping[str, str]] = {
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "bool_type": "true or false",
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
}
_BOUNDS: Final[Mapping[str, tuple[str, str]]] = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def translated(error: ErrorDetails, model: type[PolicyModel] = RoutingPolicy) -> Iterator[Violation]:
    """What one pydantic error about a model's values means, with paths from their root."""
    path: Path = error["loc"]
    if path[-1:] == ("[key]",):
        path = path[:-1]
    if error["type"] == VIOLATION:
        for violation in error["ctx"]["violations"]:
            paths = tuple(path + relative for relative in violation.paths)
            yield Violation(paths, violation.message, violation.hint)
        return
    message, hint = _words(error, path, model)
    yield Violation((path,), message, hint)


def _words(error: ErrorDetails, path: Path, model: type[PolicyModel]) -> tuple[str, str]:
    kind, given = error["type"], error["input"]
    context: Mapping[str, Any] = error.get("ctx", {})
    if kind == "extra_forbidden":
        return "unknown key", choices_hint(path[-1], allowed_keys(path[:-1], model))
    if kind == "missing":
        return "required key is missing", ""
    if kind == "literal_error":
        return f"unknown value {show(given)}", choices_hint(given, _literals(context))
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, got {show(given)}", _type_hint(_EXPECTED[kind], given)
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"must be {words} {context[key]:g}, got {show(given)}", _range_hint(context[key], given)
    return error["msg"][:1].lower() + error["msg"][1:], ""


def _literals(context: Mapping[str, Any]) -> list[str]:
    """The allowed words out of pydantic's list of them: "'a', 'b' or 'c'"."""
    text = str(context["expected"]).replace(" or ", ", ")
    return [word.strip("'") for word in text.split(", ")]


def _type_hint(expected: str, given: object) -> str:
    if expected.endswith("number") and isinstance(given, str):
        return "remove the quotes" if _is(float, given) else ""
    if expected == "text" and isinstance(given, int | float):
        return f'quote it: "{show(given)}"'
    if expected == "true or false" and isinstance(given, str) and given.lower() in {"true", "false"}:
        return "remove the quotes"
    return ""


def _range_hint(bound: object, given: object) -> str:
    """Rates are fractions; 60 where at most 1 is allowed was meant as a percentage."""
    if bound == 1 and isinstance(given, int | float) and 1 < given <= 100:  # noqa: PLR2004 (percent)
        return f"did you mean {given / 100:g}?"
    return ""


def _is(convert: Callable[[str], object], text: str) -> bool:
    try:
        convert(text)
    except ValueError:
        return False
    return True
