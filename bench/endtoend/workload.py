"""What is asked: the project's own prompts, at least 50 for each task, and rows of Spec-Bench where they are.

The own prompts are those of `bench.methods`, which neither drafters nor the classifier learn from, and for
code editing `code_editing.json` beside this module: pieces of code and what to do to them. Every block draws
new ones, the same for all sides.

Routers are warmed up with 16 further prompts of each task. They are of the same kinds, as what a service was
asked before is: with prompts that a drafter of ours learned from, it would look better than it is, and the
router would prefer it for longer than it should.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from itertools import zip_longest
from pathlib import Path
from random import Random
from typing import Final

from bench.methods import prompts as of_methods
from bench.results import BenchError, OptionError

CODE_EDITING: Final = "code_editing"
TASKS: Final = (
    *("code", CODE_EDITING, "sql", "structured", "math", "qa", "rag", "summarization", "translation"),
    *("creative", "chat", "extraction", "legal", "support", "reasoning"),
)
_CATEGORIES: Final = {
    "coding": "code",
    "math": "math",
    "math_reasoning": "math",
    "reasoning": "reasoning",
    "extraction": "extraction",
    "translation": "translation",
    "summarization": "summarization",
    "qa": "qa",
    "stem": "qa",
    "humanities": "qa",
    "rag": "rag",
    "writing": "creative",
    "roleplay": "creative",
}
_WARM_PER_TASK: Final = 16
_EACH: Final = 3
"""Which of the prompts warm up: an odd distance takes own and foreign ones in turn."""

Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One conversation to be answered; `source` is `own` or `spec-bench`."""

    ident: str
    task: str
    source: str
    messages: Messages


@dataclass(frozen=True, slots=True)
class Workload:
    """Prompts by task: those to measure, and others to warm up with, in a mixed order."""

    measured: Mapping[str, Sequence[Prompt]]
    warming: Sequence[Prompt]

    def block(self, number: int, *, per_task: int) -> list[Prompt]:
        """The prompts of one block, `per_task` of each, in a mixed order.

        Consecutive blocks take consecutive prompts, and begin anew when all were taken.
        """
        taken = [
            pool[(number * per_task + place) % len(pool)]
            for pool in self.measured.values()
            for place in range(per_task)
        ]
        Random(f"block {number}").shuffle(taken)
        return taken


def workload(spec_bench: Path | None = None, tasks: Sequence[str] = ()) -> Workload:
    """The prompts of these tasks, all for none; own and foreign ones take turns.

    Raises:
        OptionError: A task has no prompts, or the file of Spec-Bench rows cannot be read.
    """
    pools: dict[str, dict[str, list[Prompt]]] = defaultdict(lambda: defaultdict(list))
    foreign = spec_bench_prompts(spec_bench) if spec_bench is not None else ()
    for prompt in (*own_prompts(), *foreign):
        pools[prompt.task][prompt.source].append(prompt)
    for task in tasks:
        if task not in pools:
            raise OptionError(f"--tasks: {task}: there is none: name some of {', '.join(TASKS)}")
    chosen = [task for task in TASKS if not tasks or task in tasks]
    mixed = {task: _alternating(list(pools[task].values())) for task in chosen}
    warming = [prompt for pool in mixed.values() for prompt in pool[1::_EACH][:_WARM_PER_TASK]]
    kept = {prompt.ident for prompt in warming}
    return Workload(
        {task: [prompt for prompt in pool if prompt.ident not in kept] for task, pool in mixed.items()},
        Random("warming").sample(warming, len(warming)),
    )


def own_prompts() -> Iterator[Prompt]:
    """The project's own prompts of every task."""
    for prompt in of_methods.own_prompts():
        yield _prompt(prompt.family, "own", prompt.text)
    edits = list(_edits())
    Random(CODE_EDITING).shuffle(edits)
    for text in edits:
        yield _prompt(CODE_EDITING, "own", text)


def spec_bench_prompts(file: Path) -> Iterator[Prompt]:
    """The first turns of Spec-Bench's rows, under the task that their category comes to.

    Raises:
        OptionError: The file cannot be read.
    """
    try:
        rows = of_methods.spec_bench(file)
    except BenchError as error:
        raise OptionError(f"--spec-bench: {error}") from error
    for row in rows:
        task = _CATEGORIES.get(row.family.removeprefix("spec-bench "))
        if task is not None and len(row.text) <= of_methods.LONGEST:
            yield _prompt(task, "spec-bench", row.text)


def _prompt(task: str, source: str, text: str) -> Prompt:
    key = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return Prompt(f"{task}-{key}", task, source, [{"role": "user", "content": text}])


def _edits() -> Iterator[str]:
    parts = json.loads(files("bench.endtoend").joinpath("code_editing.json").read_text(encoding="utf-8"))
    for code in parts["code"]:
        for change in parts["changes"]:
            yield f"{change}\n\n```python\n{code}```"


def _alternating(pools: Iterable[Sequence[Prompt]]) -> list[Prompt]:
    """One of each pool in turn, as long as it lasts."""
    return [prompt for row in zip_longest(*pools) for prompt in row if prompt is not None]
