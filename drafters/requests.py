"""What the target is asked, so that its answers show how it talks: the project's prompts and an operator's.

The project's prompts are templates, expanded by seeded choices: those of the task classifier, and longer ones
in `prompts/`. Some templates are held out with all their prompts: acceptance is measured where nothing alike
was learned from.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Final

from drafters.answering import Request
from drafters.errors import DraftError
from policies.tasks import TASKS
from training import templates

Messages = Sequence[dict[str, Any]]
Encode = Callable[[Messages], list[int]]
"""Token ids of a conversation with the target's chat template, open for the answer."""

PROMPTS: Final = Path(__file__).parent / "prompts"
TEMPERATURES: Final = (0.0, 0.0, 0.7, 1.0)
"""How prompts are answered in turn. Half greedily: that is how most are answered where drafts pay most."""

_WEIGHTS: Final = {"creative": 3.0, "chat": 3.0, "qa": 3.0, "math": 3.0, "reasoning": 1.5}
_LONG_WEIGHT: Final = 3.0
_HELD_OUT_SHARE: Final = 16
_PLAIN_SHARE: Final = 0.97


@dataclass(frozen=True, slots=True)
class Prompt:
    """One conversation to be answered. Prompts of one `family` are held out together."""

    task: str
    family: str
    messages: Messages
    weight: float = 1.0


def own_prompts(*, per_template: int) -> Iterator[Prompt]:
    """The project's prompts, up to `per_template` distinct ones of every template."""
    names = templates.slots() | {"subject": list(_lines("subjects.txt"))}
    short = ((f"{task} | {line}", 1.0) for task in TASKS for line in templates.templates(task))
    long = ((line, _LONG_WEIGHT) for line in _lines("templates.txt"))
    for number, (line, weight) in enumerate(chain(short, long)):
        task, template = line.split(" | ", 1)
        choose = random.Random(f"draft {number}")
        texts = {templates.expand(template, names, choose): None for _ in range(per_template)}
        usual = [text for text in texts if _is_usual(text)]
        for text in usual:
            share = weight * _WEIGHTS.get(task, 1.0) * per_template / len(usual)
            yield Prompt(task, f"{task} {template}", templates.turns(text), share)


def read_prompts(file: Path) -> list[Prompt]:
    """An operator's prompts: a JSON object a line, with `messages` or `prompt`, and perhaps a `task`.

    Raises:
        DraftError: The file cannot be read or holds no prompt, or a line (named by its number) is not one.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DraftError(
            f"{file}: cannot be read ({error}): name a JSONL file of prompts in UTF-8"
        ) from error
    found = [
        _read_line(f"{file}:{number}", line)
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip()
    ]
    if not found:
        raise DraftError(f"{file}: no prompts: give one JSON object a line, with messages or prompt")
    return found


def _read_line(where: str, line: str) -> Prompt:
    try:
        row = json.loads(line)
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise DraftError(f"{where}: half of a surrogate pair (\\ud800 to \\udfff) is no text") from None
    except ValueError as error:
        raise DraftError(f"{where}: not JSON ({error}): give one JSON object a line") from error
    if not isinstance(row, dict):
        raise DraftError(f'{where}: not an object: write {{"prompt": …}} or {{"messages": […]}}')
    messages = row.get("messages")
    if messages is None and isinstance(row.get("prompt"), str):
        messages = [{"role": "user", "content": row["prompt"]}]
    if not isinstance(messages, list) or not messages or not all(_is_turn(turn) for turn in messages):
        raise DraftError(
            f"{where}: messages: a list of objects with role and content (text) is needed, or a prompt"
        )
    task = row.get("task", "")
    if not isinstance(task, str):
        raise DraftError(f"{where}: task: a text is needed")
    return Prompt(task, json.dumps(messages), messages, weight=1.0)


def _is_turn(turn: object) -> bool:
    return isinstance(turn, dict) and all(isinstance(turn.get(key), str) for key in ("role", "content"))


def requests(prompts: Iterable[Prompt], encode: Encode, *, prompt_tokens: int) -> Iterator[Request]:
    """Prompts in a mixed order, heavier ones earlier; those longer than `prompt_tokens` are left out.

    Every prompt comes once. The order and the way each is answered depend on the prompts alone, so that runs
    on the same prompts ask the same.
    """
    for position, prompt in enumerate(sorted(prompts, key=_turn_in_order)):
        tokens = tuple(encode(prompt.messages))
        if len(tokens) > prompt_tokens:
            continue
        held_out = int(_hash(prompt.family), 16) % _HELD_OUT_SHARE == 0
        temperature = 0.0 if held_out else TEMPERATURES[position % len(TEMPERATURES)]
        ident = f"{_hash(json.dumps(list(prompt.messages)))[:16]}@{temperature:g}"
        yield Request(ident, prompt.task, tokens, temperature, held_out)


def _turn_in_order(prompt: Prompt) -> float:
    """An exponential wait; shortest first draws by weight without replacement (Efraimidis, Spirakis)."""
    chance = random.Random(json.dumps([prompt.family, list(prompt.messages)]))
    return chance.expovariate(prompt.weight)


def _is_usual(text: str) -> bool:
    """Whether the text is mostly in the Latin alphabet; of the others, the model knows next to nothing."""
    return sum(character.isascii() for character in text) >= _PLAIN_SHARE * len(text)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@cache
def _lines(file: str) -> tuple[str, ...]:
    text = (PROMPTS / file).read_text(encoding="utf-8")
    return tuple(line for line in text.split("\n") if line.strip() and not line.startswith("# "))
