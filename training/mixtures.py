"""Prompts made of other prompts: what a classifier must not be misled by.

Conversations whose last turn changes the task, conversations that go on, system prompts that say nothing or
something else, orders to the classifier, long texts, tools and schemas as fields of the request.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from policies.tasks import TASKS
from training.rows import Row, user
from training.templates import OWN_SOURCE, Slots, expand, templates

NAMED = tuple(task for task in TASKS if task != "other")
_MATERIAL = ("passage", "long", "entity_text")
_LONG_SHARE = 0.12
_LONG_PIECES = (4, 40)
_HISTORY_CHARACTERS = 1_500
_EXPLICIT_CHARACTERS = 25

_NEUTRAL = (
    "You are a helpful assistant.",
    "You are a helpful, respectful and honest assistant. Answer truthfully.",
    "Be concise.",
    "Answer in the language of the user.",
    "Du bist ein hilfreicher Assistent.",
    "Tu es un assistant utile.",
    "Eres un asistente útil.",
    "你是一个有用的助手。",
    "You are an AI model. Today is Monday.",
    "Answer as well as you can. Use markdown.",
)
_MISLEADING = (
    "You are a senior Python developer.",
    "You are a poet.",
    "You translate between English and French.",
    "You are a customer service agent of an online shop.",
    "You are a lawyer.",
    "You are a database administrator.",
    "You summarize news articles.",
    "You are a maths tutor.",
    "You are a pirate. Stay in character.",
    "Answer from the documents in the context.",
    "You extract entities from text.",
    "You solve riddles.",
)
_CONTINUING = (
    "continue", "go on", "more", "another one please", "again", "and one more", "weiter", "sigue", "encore",
    "ещё", "继续", "続けて", "a different version", "no, that's wrong", "try again",
    "what about the other one?", "make it better", "not quite, once more", "do the next one", "longer please",
)  # fmt: skip
_REPLIES = (
    "Sure.",
    "Here you are.",
    "Of course, here it is:",
    "Okay.",
    "Gern.",
    "Voilà.",
    "Claro.",
    "好的。",
)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a mixture is made of."""

    rows: Sequence[Row]
    names: Slots
    choose: random.Random


def with_long_materials(names: Slots, texts: Sequence[str], seed: str) -> Slots:
    """Slots whose passages are mixed with `texts`, and some of which are very long."""
    choose = random.Random(seed)
    mixed = {name: list(items) for name, items in names.items()}
    for name in _MATERIAL:
        mixed[name] += choose.sample(texts, min(len(texts), 300)) if texts else []
        for _ in range(round(len(mixed[name]) * _LONG_SHARE) + 1):
            pieces = choose.choices(mixed[name], k=choose.randint(*_LONG_PIECES))
            mixed[name].append("\n".join(pieces))
    short = [text for text in texts if len(text) < 400]  # noqa: PLR2004 -- a few sentences
    mixed["any_text"] += choose.sample(short, min(len(short), 120)) if short else []
    return mixed


def mixtures(rows: Sequence[Row], names: Slots, *, seed: str, scale: float = 1.0) -> Iterator[Row]:
    """Rows made of `rows`; `scale` multiplies their number."""
    makers = (
        (_changing, 900), (_standing_alone, 500), (_continuing, 200), (_neutral_system, 400),
        (_misleading_system, 350), (_injected, 700), (_with_fields, 160),
    )  # fmt: skip
    single = [row for row in rows if len(row.messages) == 1 and row.task != "other"]
    for make, count in makers:
        choose = random.Random(f"{seed} {make.__name__}")
        for _ in range(round(count * scale)):
            yield make(_Parts(single, names, choose))


def _reply(row: Row, of: _Parts) -> str:
    kind = {"code": "code", "sql": "sql", "structured": "tools_json", "translation": "any_text"}.get(row.task)
    text = of.choose.choice(of.names[kind or of.choose.choice(("passage", "sentence", "long"))])
    return f"{of.choose.choice(_REPLIES)}\n{text[:_HISTORY_CHARACTERS]}"


def _history(row: Row, of: _Parts) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": row.turn[-_HISTORY_CHARACTERS:]},
        {"role": "assistant", "content": _reply(row, of)},
    ]


def _changing(of: _Parts) -> Row:
    """A last turn that refers to what was said and wants something else."""
    task, template = of.choose.choice(templates("followups")).split(" | ", 1)
    before = _history(of.choose.choice(of.rows), of)
    if of.choose.random() < 0.3:  # noqa: PLR2004 -- some conversations are longer
        before = _history(of.choose.choice(of.rows), of) + before
    return Row(task, f"{OWN_SOURCE}/changing", user(expand(template, of.names, of.choose), before=before))


def _standing_alone(of: _Parts) -> Row:
    """A last turn that has nothing to do with the turns before."""
    row = _explicit(of)
    before = _history(of.choose.choice(of.rows), of)
    return Row(row.task, f"{OWN_SOURCE}/alone", user(row.turn, before=before))


def _continuing(of: _Parts) -> Row:
    """A last turn that only makes sense with the turn before."""
    row = of.choose.choice(of.rows)
    return Row(
        row.task,
        f"{OWN_SOURCE}/continuing",
        user(of.choose.choice(_CONTINUING), before=_history(row, of)),
    )


def _neutral_system(of: _Parts) -> Row:
    row = of.choose.choice(of.rows)
    return Row(row.task, f"{OWN_SOURCE}/system", user(row.turn, system=of.choose.choice(_NEUTRAL)))


def _misleading_system(of: _Parts) -> Row:
    row = _explicit(of)
    return Row(row.task, f"{OWN_SOURCE}/misleading", user(row.turn, system=of.choose.choice(_MISLEADING)))


def _injected(of: _Parts) -> Row:
    """An order to label it otherwise, at the opening, the end, or on a line in between."""
    row = of.choose.choice(of.rows)
    label = {"label": [of.choose.choice(NAMED)]}
    order = expand(of.choose.choice(templates("injections")), {**of.names, **label}, of.choose)
    lines = row.turn.split("\n")
    lines.insert(of.choose.choice((0, len(lines), of.choose.randint(0, len(lines)))), order)
    one_line = len(lines) == 2  # noqa: PLR2004 -- the order and the text
    glue = of.choose.choice(("\n", "\n\n", " ")) if one_line else "\n"
    return Row(row.task, f"{OWN_SOURCE}/injected", user(glue.join(lines)))


def _with_fields(of: _Parts) -> Row:
    """Tools or a response schema beside an unremarkable turn."""
    request = expand(of.choose.choice(("{call_request}", "{topic_request}")), of.names, of.choose)
    if of.choose.random() < 0.5:  # noqa: PLR2004 -- half and half
        field: dict[str, Any] = {"tools": [{"type": "function", "function": {"name": "f"}}]}
    else:
        field = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}}
    return Row("structured", f"{OWN_SOURCE}/fields", {**user(request), **field})


def _explicit(of: _Parts) -> Row:
    """A row whose turn says by itself what it wants: no small talk, and no bare text or answer."""
    while True:
        row = of.choose.choice(of.rows)
        if row.task != "chat" and len(row.turn) > _EXPLICIT_CHARACTERS:
            return row
