"""What is wrong with a policy, in words for the person who wrote it.

A `Violation` is found by a rule that knows values but no text; a `Problem` is a finding with its place in the
file. `PolicyError` carries every problem of a file at once.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pydantic_core import PydanticCustomError

Path = tuple[str | int, ...]

MAX_PROBLEMS: Final = 200
"""Nobody reads more of them at once."""

VIOLATION: Final = "policy_violation"
"""Type of the pydantic error that carries violations in its context."""

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_SHOWN_CHARACTERS = 40
_SHOWN_CHOICES = 40
_COMPARED_CHOICES = 1000


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a policy file. Lines and columns count from 1."""

    source: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.source}:{self.line}:{self.column}"
        what = f"{self.message}; {self.hint}" if self.hint else self.message
        return f"{where}: {self.path}: {what}" if self.path else f"{where}: {what}"


class PolicyError(ValueError):
    """A policy that cannot be used; its text is one line per problem, in the order of the file.

    Of very many problems the first are told, and that there are more.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        ordered = sorted(dict.fromkeys(problems), key=lambda found: (found.line, found.column, found.path))
        if len(ordered) > MAX_PROBLEMS:
            following = replace(
                ordered[MAX_PROBLEMS], path="", message="there are more", hint="see to these first"
            )
            ordered = [*ordered[:MAX_PROBLEMS], following]
        self.problems: tuple[Problem, ...] = tuple(ordered)
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken rule between values.

    Attributes:
        paths: The values involved, relative to the object that was checked, the likeliest culprit first.
        message: What is wrong.
        hint: What to do about it.
    """

    paths: tuple[Path, ...]
    message: str
    hint: str = ""


def violated(violations: Sequence[Violation]) -> PydanticCustomError:
    """The error a pydantic validator raises to report broken rules, all of them at once."""
    summary = "; ".join(violation.message for violation in violations)
    return PydanticCustomError(VIOLATION, "{message}", {"message": summary, "violations": tuple(violations)})


def refusal(message: str, hint: str = "") -> PydanticCustomError:
    """The error a pydantic validator raises about the value itself."""
    return violated([Violation(paths=((),), message=message, hint=hint)])


def format_path(path: Path) -> str:
    """A path as people write it: `spec.tenants["a.b"].schedules[0]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _PLAIN_KEY.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{show(step)}]"
    return text


def show(value: object) -> str:
    """A value of the file on one line, shortened."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        short = value if len(value) <= _SHOWN_CHARACTERS else value[: _SHOWN_CHARACTERS - 1] + "…"
        return repr(short)
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return str(value)


def choices_hint(given: object, allowed: Sequence[str]) -> str:
    """Names the closest allowed word, if one is close, and all of them, or the first of many."""
    closest = difflib.get_close_matches(str(given)[:_SHOWN_CHARACTERS], allowed[:_COMPARED_CHOICES], n=1)
    suggestion = f"did you mean {closest[0]!r}? " if closest else ""
    more = len(allowed) - _SHOWN_CHOICES
    rest = f" and {more} more" if more > 0 else ""
    return f"{suggestion}allowed: {', '.join(allowed[:_SHOWN_CHOICES])}{rest}"
