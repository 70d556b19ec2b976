"""The closed set of tasks a request can be classified as."""

from __future__ import annotations

from typing import Final, Literal, get_args

Task = Literal[
    "code",
    "sql",
    "structured",
    "math",
    "qa",
    "rag",
    "summarization",
    "translation",
    "creative",
    "chat",
    "extraction",
    "legal",
    "support",
    "reasoning",
    "other",
]

TASKS: Final[tuple[Task, ...]] = get_args(Task)
"""Every built-in task, `other` last: the answer when nothing fits."""
