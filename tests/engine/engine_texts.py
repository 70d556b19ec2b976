"""Prompts of our own: some a copying drafter likes, some it does not."""

from __future__ import annotations

from typing import Any

_CODE = """def total(items):
    result = 0
    for item in items:
        result = result + item.price
    return result


def count(items):
    result = 0
    for item in items:
        result = result + 1
    return result
"""

_ORDERS = """order 1041: Maria Keller, 3 lamps, Bremen
order 1042: Jonas Weber, 1 desk, Kassel
order 1043: Aylin Demir, 2 chairs, Ulm
order 1044: Peter Vogel, 5 lamps, Jena
"""

_STORY = "The ferry left the island before sunrise, and nobody had told the lighthouse keeper."

_NOTICE = (
    "The library will be closed on Monday for repairs to the heating. Books that are due on Monday may be "
    "returned on Tuesday without a fee. The reading room stays open every other day from nine to six."
)

CHATS = [
    f"Repeat this code and rename `result` to `answer`:\n{_CODE}",
    f"Repeat this code exactly:\n{_CODE}",
    f"Add a docstring to each function:\n{_CODE}",
    f"List every name in these orders:\n{_ORDERS}",
    f"Write these orders as JSON objects with id, name, item, city:\n{_ORDERS}",
    f"Copy the orders that are for lamps:\n{_ORDERS}",
    f"Continue this story: {_STORY}",
    f"Repeat this sentence five times: {_STORY}",
    f"Summarize this notice in one sentence: {_NOTICE}",
    f"When may books be returned?\n{_NOTICE}",
    f"Translate into German: {_NOTICE}",
    "What is the capital of France?",
    "Count from one to thirty.",
    "Give me a recipe for pancakes.",
    "Explain why the sky is blue to a child.",
    "Write a short poem about rain.",
    "Write an SQL query that counts orders per city.",
    "Name ten animals, one per line.",
    "What should I say in a job interview?",
    "If a train goes 60 km in 45 minutes, how fast is it?",
    "Write a polite e-mail that cancels a meeting.",
]

COMPLETIONS = [
    f"{_CODE}\n\ndef total(items):\n",
    "1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1, 2, 3,",
    "Once upon a time there was a",
]


def requests(max_tokens: int) -> list[dict[str, Any]]:
    """All of them as greedy requests."""
    chats: list[dict[str, Any]] = [{"messages": [{"role": "user", "content": text}]} for text in CHATS]
    completions: list[dict[str, Any]] = [{"prompt": text} for text in COMPLETIONS]
    return [{**body, "max_tokens": max_tokens, "temperature": 0} for body in (*chats, *completions)]


def long_text(words: int) -> str:
    """A text with few repetitions."""
    colours = ("red", "green", "blue", "white", "black", "grey", "brown")
    return " ".join(f"{colours[n % 7]} {n * 7919 % 1000}" for n in range(words // 2))
