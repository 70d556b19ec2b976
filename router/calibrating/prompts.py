"""The operator's prompts: JSON Lines, each with a domain and what is asked."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

LABELS: Final = ("domain", "segment", "task", "category")
"""Keys that may name a prompt's domain; the first one that is there does."""
_ROLES: Final = ("system", "developer", "user", "assistant", "tool")
_MOST_PROBLEMS: Final = 10
_LONGEST_NAME: Final = 64


class PromptsError(ValueError):
    """A file of prompts that cannot be used; a line for every problem, with the number of its line."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt, of a `line`. `task` is sent along where the file says it; else the service finds out."""

    id: str
    domain: str
    messages: Sequence[Mapping[str, Any]]
    task: str | None = None
    max_tokens: int | None = None
    line: int = 0

    @property
    def tokens(self) -> float:
        """How long it is, about: a token is four characters of English."""
        return sum(len(str(message.get("content", ""))) for message in self.messages) / 4


def read_prompts(path: Path) -> list[Prompt]:
    """All prompts of a file. What tasks there are the service knows: see `check_tasks`.

    A line ends with a line feed, with or without a carriage return before it: other separators of lines may
    stand in JSON's strings. It has `messages`, or `prompt`, or `turns` of which the first is asked; and one
    of `LABELS`. It may have `id` and `max_tokens`; other keys are nobody's business here.

    Raises:
        PromptsError: The file cannot be read, has none, or has bad lines.
    """
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except OSError as error:
        raise PromptsError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise PromptsError(f"{path}: not UTF-8: byte {error.start} cannot be read") from None
    found: dict[str, Prompt] = {}
    problems: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            prompt = _prompt(line, number)
        except ValueError as error:
            problems.append(f"{path}:{number}: {error}")
            continue
        if prompt.id in found:
            problems.append(f"{path}:{number}: id: {prompt.id!r} is there already")
        found[prompt.id] = prompt
    _raise(path, problems)
    if not found:
        raise PromptsError(f"{path}: no prompts: a line is like {_EXAMPLE}")
    return list(found.values())


_PART: Final = '{"type": "text", "text": "…"}'
_EXAMPLE: Final = '{"domain": "code", "messages": [{"role": "user", "content": "…"}]}'


def check_tasks(path: Path, prompts: Sequence[Prompt], tasks: Collection[str]) -> None:
    """Whether a service with these tasks knows those of the prompts.

    Raises:
        PromptsError: It does not know all.
    """
    _raise(
        path,
        [
            f"{path}:{prompt.line}: task: {prompt.task!r} is none of {', '.join(tasks)}"
            for prompt in prompts
            if prompt.task is not None and prompt.task not in tasks
        ],
    )


def drawn(prompts: Sequence[Prompt], *, per_domain: int, seed: int) -> list[Prompt]:
    """At most so many of each domain, at random."""
    rng, by_domain = Random(seed), dict[str, list[Prompt]]()
    for prompt in prompts:
        by_domain.setdefault(prompt.domain, []).append(prompt)
    return [prompt for own in by_domain.values() for prompt in rng.sample(own, min(per_domain, len(own)))]


def _raise(path: Path, problems: list[str]) -> None:
    if len(problems) > _MOST_PROBLEMS:
        problems[_MOST_PROBLEMS:] = [f"{path}: {len(problems) - _MOST_PROBLEMS} further lines cannot be used"]
    if problems:
        raise PromptsError("\n".join(problems))


def _prompt(line: str, number: int) -> Prompt:
    try:
        row = json.loads(line)
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair (\\ud800 to \\udfff) is no text") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(row, dict):
        raise ValueError(f"expected an object like {_EXAMPLE}")  # noqa: TRY004 - of the file, not of the code
    label = next((key for key in LABELS if row.get(key) is not None), None)
    if label is None:
        raise ValueError(f"no {', '.join(LABELS[:-1])} or {LABELS[-1]}: say what kind of prompt it is")
    domain = row[label]
    if not isinstance(domain, str) or not domain.strip() or len(domain) > _LONGEST_NAME:
        raise ValueError(f"{label}: expected a name of at most {_LONGEST_NAME} characters")
    task = row.get("task")
    if task is not None and (not isinstance(task, str) or not task or len(task) > _LONGEST_NAME):
        raise ValueError(f"task: expected a name of at most {_LONGEST_NAME} characters")
    given = row.get("max_tokens")
    if given is not None and (not isinstance(given, int) or isinstance(given, bool) or given < 2):  # noqa: PLR2004
        raise ValueError("max_tokens: expected a whole number from 2 on")
    name = f"line-{number}" if row.get("id") is None else str(row["id"])
    return Prompt(name, domain.strip(), _messages(row), task, given, number)


def _messages(row: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    messages = row.get("messages")
    if messages is None:
        turns = row.get("turns")
        text = row.get("prompt", turns[0] if isinstance(turns, list) and turns else None)
        if not isinstance(text, str) or not text.strip():
            raise ValueError("no messages, prompt or turns: say what is asked")
        return [{"role": "user", "content": text}]
    if not isinstance(messages, list) or not messages:
        raise ValueError("messages: expected a list of at least one")
    for place, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise ValueError(f"messages[{place}].role: expected one of {', '.join(_ROLES)}")
        content = message.get("content")
        if not isinstance(content, str) and not _is_parts(content):
            raise ValueError(f"messages[{place}].content: expected text, or a list of parts like {_PART}")
    return messages


def _is_parts(content: object) -> bool:
    """Whether it is a list of OpenAI's content parts: objects with a type, and text where that says so."""
    return (
        isinstance(content, list)
        and len(content) > 0
        and all(
            isinstance(part, dict)
            and isinstance(part.get("type"), str)
            and (part["type"] != "text" or isinstance(part.get("text"), str))
            for part in content
        )
    )
