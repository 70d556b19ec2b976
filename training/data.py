"""What the classifier is trained on: public prompts, the project's own, and mixtures of both."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from training.mixtures import mixtures, with_long_materials
from training.rows import Row
from training.templates import OWN_SOURCE, handwritten_rows, own_rows, slots

_FREE = frozenset(
    {
        "lmarena/arena-hard-auto",
        "Open-Assistant/oasst-model-eval",
        "yizhongw/self-instruct",
        "f/awesome-chatgpt-prompts",
        "handwritten",
    }
)
_TEXT_TASKS = frozenset({"summarization", "translation", "extraction", "rag"})
_TEXT_CHARACTERS = (120, 3_000)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the training rows are put together.

    Attributes:
        source_cap: Rows of one source and task count together as at most this many, where the source repeats
            a form. Collections of what people wrote freely are not capped.
        per_template: Prompts made of one template.
        mixture_scale: Number of mixtures, 1 being the number they were written for.
        own_weight: Weight of a row of the project's own.
        mixed_weight: Weight of a mixture.
    """

    source_cap: float = 40.0
    per_template: int = 14
    mixture_scale: float = 1.3
    own_weight: float = 0.38
    mixed_weight: float = 0.8


def training_rows(public: Sequence[Row], recipe: Recipe) -> list[Row]:
    """Public rows, own rows over own and public texts, and mixtures; tasks weigh alike.

    Deterministic. Only texts of `public` are used, so that leaving a source out leaves all of it out.
    """
    names = with_long_materials(slots(), _texts(public), seed="materials")
    counts = Counter((row.task, row.source) for row in public)
    capped = [
        row
        if row.source in _FREE
        else replace(row, weight=min(1.0, recipe.source_cap / counts[row.task, row.source]))
        for row in public
    ]
    own = [
        replace(row, weight=row.weight * recipe.own_weight)
        for row in (
            *own_rows(names, per_template=recipe.per_template),
            *handwritten_rows(names, per_template=recipe.per_template // 2),
        )
    ]
    mixed = [
        replace(row, weight=recipe.mixed_weight)
        for row in mixtures([*public, *own], names, seed="mixtures", scale=recipe.mixture_scale)
    ]
    return _balanced([*capped, *own, *mixed])


def is_own(row: Row) -> bool:
    """Whether the row was written, or mixed, here."""
    return row.source.startswith(OWN_SOURCE)


def _texts(rows: Sequence[Row]) -> list[str]:
    """Longest lines of prompts over a text: something to be worked on, without what is to be done."""
    low, high = _TEXT_CHARACTERS
    found = [
        max(row.turn.split("\n"), key=len)
        for row in rows
        if row.task in _TEXT_TASKS and row.source != "handwritten"
    ]
    return sorted({text for text in found if low <= len(text) <= high})


def _balanced(rows: list[Row]) -> list[Row]:
    """Rows whose weights add up to the same for every task but `other`, and to their number overall."""
    totals: dict[str, float] = defaultdict(float)
    for row in rows:
        totals[row.task] += row.weight
    named = [task for task in totals if task != "other"]
    mean = sum(totals[task] for task in named) / len(named)
    return [replace(row, weight=row.weight * min(4.0, mean / totals[row.task])) for row in rows]
