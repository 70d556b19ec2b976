"""What is asked: the project's own prompts of every task, and rows of Spec-Bench."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import product
from pathlib import Path
from random import Random
from typing import Final

import yaml

from bench.results import BenchError

LONGEST: Final = 6000
"""Characters; longer prompts take a minute to be read on one core, and tell nothing more about drafts."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt; those of a `family` are told of together."""

    id: str
    family: str
    text: str


def own_prompts() -> list[Prompt]:
    """Those of prompts.yaml, of each task in an order that mixes them. Drafters were not trained on them."""
    text = files("bench.methods").joinpath("prompts.yaml").read_text(encoding="utf-8")
    found = []
    for task, groups in yaml.safe_load(text).items():
        texts = [
            ask.replace("{}", about, 1)
            for group in groups
            for ask, about in product(group["ask"], group["about"])
        ]
        Random(task).shuffle(texts)
        found += [Prompt(f"{task}-{number}", task, one) for number, one in enumerate(texts)]
    return found


def spec_bench(file: Path) -> list[Prompt]:
    """The first turn of every row: `id`, `category` and `turns`, one JSON object a line.

    Raises:
        BenchError: The file cannot be read, or a line of it is not such a row.
    """
    found = []
    try:
        lines = file.read_text(encoding="utf-8").strip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{file}: cannot be read ({error}): name a JSONL file of Spec-Bench") from error
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            found.append(Prompt(str(row["id"]), f"spec-bench {row['category']}", str(row["turns"][0])))
        except (ValueError, LookupError, TypeError) as error:
            raise BenchError(
                f"{file}:{number}: not a row of Spec-Bench ({error!r}): it needs id, category and turns"
            ) from error
    return found


def chosen(prompts: Iterable[Prompt], *, families: Sequence[str] | None, limit: int | None) -> list[Prompt]:
    """Up to `limit` prompts of each of these families, in turns, so that a run cut short has some of all.

    Raises:
        BenchError: A family is unknown.
    """
    groups: dict[str, list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        if len(prompt.text) <= LONGEST:
            groups[prompt.family].append(prompt)
    for name in families or ():
        if name not in groups:
            raise BenchError(f"--tasks: {name!r} is none of {', '.join(sorted(groups))}")
    kept = [own[:limit] for name, own in groups.items() if not families or name in families]
    turns = max(map(len, kept), default=0)
    return [own[turn] for turn in range(turns) for own in kept if turn < len(own)]
