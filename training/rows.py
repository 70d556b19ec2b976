"""Labelled prompts, wherever they come from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled request.

    Attributes:
        task: What the last user turn asks for.
        source: Where it comes from; rows of one source resemble one another.
        body: An OpenAI request body: `messages`, and perhaps `tools` or `response_format`.
        weight: How much it counts beside other rows of its source.
    """

    task: str
    source: str
    body: Mapping[str, Any]
    weight: float = 1.0

    @property
    def messages(self) -> Sequence[Mapping[str, Any]]:
        """The turns."""
        messages: Sequence[Mapping[str, Any]] = self.body["messages"]
        return messages

    @property
    def turn(self) -> str:
        """The text of the last turn."""
        return str(self.messages[-1]["content"])


def read_rows(path: Path) -> list[Row]:
    """The rows of a JSONL file with `task`, `source` and `messages`."""
    with path.open(encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    return [Row(task=row["task"], source=row["source"], body={"messages": row["messages"]}) for row in found]


def user(text: str, *, system: str | None = None, before: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """A body whose last turn is `text`."""
    opening = [{"role": "system", "content": system}] if system else []
    return {"messages": [*opening, *before, {"role": "user", "content": text}]}


def digest(rows: Sequence[Row]) -> str:
    """SHA-256 over the rows in their order: tells whether two trainings saw the same data."""
    found = hashlib.sha256()
    for row in rows:
        line = json.dumps([row.task, row.source, row.body, round(row.weight, 6)], sort_keys=True)
        found.update(line.encode("utf-8", "surrogatepass"))
    return found.hexdigest()
