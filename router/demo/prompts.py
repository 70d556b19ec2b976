"""The prompts the demo sends: a file in the package, and which of them a run takes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import zip_longest
from random import Random
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from policies.tasks import Task


class Prompt(BaseModel):
    """One chat request, and the task its author had in mind; the router is not told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    task: Task
    messages: tuple[Mapping[str, str], ...] = Field(min_length=1)
    max_tokens: int = Field(ge=2)
    temperature: float = Field(ge=0, le=2)
    seed: int | None = None

    def body(self, model: str) -> dict[str, Any]:
        """The streaming request for `model`."""
        return {
            "model": model,
            **self.model_dump(include={"messages", "max_tokens", "temperature"}),
            **({} if self.seed is None else {"seed": self.seed}),
            "stream": True,
            "stream_options": {"include_usage": True},
        }


def load_prompts() -> list[Prompt]:
    """All shipped prompts, in the file's order."""
    text = files("router.demo").joinpath("prompts.jsonl").read_text(encoding="utf-8")
    return [Prompt.model_validate(json.loads(line)) for line in text.splitlines() if line]


def chosen(prompts: Sequence[Prompt], *, limit: int | None, seed: int) -> list[Prompt]:
    """At most `limit` prompts in a random order that mixes the tasks.

    The order deals one prompt of every task after another, so that few prompts still cover many tasks, and no
    task meets the machine at one moment only.
    """
    rng = Random(seed)
    of_task: dict[str, list[Prompt]] = {}
    for prompt in rng.sample(prompts, len(prompts)):
        of_task.setdefault(prompt.task, []).append(prompt)
    dealt = [
        prompt
        for round_ in zip_longest(*of_task.values())
        for prompt in rng.sample(round_, len(round_))
        if prompt is not None
    ]
    return dealt[:limit]
