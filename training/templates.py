r"""The project's own prompts: templates in `prompts/*.txt`, expanded by seeded choices.

A template is one line. `{a|b|c}` stands for one of its parts, `{name}` for an item of that name in
`slots.txt` or `materials.txt`, `\n` for a line break; braces around anything with a colon, a quote or a brace
in it stand for themselves. `@@S`, `@@U` and `@@A` open system, user and assistant turns; without them the
line is one user turn.
"""

from __future__ import annotations

import itertools
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from policies.tasks import TASKS
from training.rows import Row

PROMPTS = Path(__file__).parent / "prompts"
OWN_SOURCE = "specroute"

_LITERAL = re.compile(r"[:\"{;]")
_TURN = re.compile(r"@@([SUA])\s?")
_ROLES = {"S": "system", "U": "user", "A": "assistant"}

Slots = Mapping[str, Sequence[str]]


def slots() -> dict[str, list[str]]:
    """What stands in for every name, from `slots.txt` (items of a line) and `materials.txt` (one each)."""
    found: dict[str, list[str]] = defaultdict(list)
    name = ""
    for file in ("slots.txt", "materials.txt"):
        for line in _lines(file):
            if line.startswith("=== "):
                name = line.removeprefix("=== ")
            else:
                found[name].append(_unescaped(line))
    return dict(found)


def templates(name: str) -> list[str]:
    """The lines of `prompts/{name}.txt`."""
    return list(_lines(f"{name}.txt"))


def expand(template: str, names: Slots, choose: random.Random) -> str:
    """The template with every choice made."""
    return _unescaped(_expanded(template, names, choose))


def _expanded(text: str, names: Slots, choose: random.Random) -> str:
    opening = text.find("{")
    if opening < 0:
        return text
    closing, bars = _group(text, opening)
    if closing < 0:
        return text
    inner = text[opening + 1 : closing]
    if inner in names:
        item = choose.choice(names[inner])
        made = _expanded(item, names, choose) if "{" in item and "\n" not in item else item
    elif bars:
        edges = [opening, *bars, closing]
        parts = [text[a + 1 : b] for a, b in itertools.pairwise(edges)]
        made = _expanded(choose.choice(parts), names, choose)
    else:
        made = _expanded(inner, names, choose)
        if _LITERAL.search(inner):
            made = f"{{{made}}}"
    return text[:opening] + made + _expanded(text[closing + 1 :], names, choose)


def _group(text: str, opening: int) -> tuple[int, list[int]]:
    """Where the group that opens at `opening` closes (-1: nowhere), and the bars that part it."""
    depth = 0
    bars: list[int] = []
    for at in range(opening, len(text)):
        match text[at]:
            case "{":
                depth += 1
            case "}":
                depth -= 1
                if depth == 0:
                    return at, bars
            case "|" if depth == 1:
                bars.append(at)
    return -1, []


def own_rows(names: Slots, *, per_template: int) -> Iterator[Row]:
    """Up to `per_template` distinct prompts of every template of every task."""
    for task in TASKS:
        for number, template in enumerate(templates(task)):
            choose = random.Random(f"{task} {number}")
            texts = {expand(template, names, choose): None for _ in range(per_template)}
            for text in texts:
                body = {"messages": turns(text)}
                yield Row(task, f"{OWN_SOURCE}/{task}", body, weight=1.0)


def handwritten_rows(names: Slots, *, per_template: int) -> Iterator[Row]:
    """The prompts of `handwritten.txt`; those that hold choices up to `per_template` times."""
    for number, line in enumerate(templates("handwritten")):
        task, template = line.split(" | ", 1)
        choose = random.Random(f"handwritten {number}")
        for text in {expand(template, names, choose): None for _ in range(per_template)}:
            yield Row(task, f"{OWN_SOURCE}/handwritten", {"messages": turns(text)}, weight=2.0)


def turns(text: str) -> list[dict[str, str]]:
    """The turns of an expanded template."""
    pieces = _TURN.split(text)
    if len(pieces) == 1:
        return [{"role": "user", "content": text}]
    return [
        {"role": _ROLES[role], "content": content.strip("\n")}
        for role, content in zip(pieces[1::2], pieces[2::2], strict=True)
    ]


@cache
def _lines(file: str) -> tuple[str, ...]:
    text = (PROMPTS / file).read_text(encoding="utf-8")
    return tuple(line for line in text.split("\n") if line.strip() and not line.startswith("# "))


def _unescaped(text: str) -> str:
    return text.replace("\\n", "\n").replace("\\t", "\t")
