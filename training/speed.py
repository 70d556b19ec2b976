"""How long a classification takes: from a parsed body to the answer, by prompt length and kind."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

import numpy as np

from router.tasks import TaskClassifier, request_text

REPEATS = 400
PARTS = 200
PART_CHARACTERS = 4_000
LENGTHS = (20, 200, 2_000, 20_000, 200_000, 2_000_000)
KINDS: Mapping[str, str] = {
    "prose": "The council of Marrow Bay voted on Tuesday to close the road to cars until September. ",
    "code": "for (int i = 0; i < n; i++) { total += prices[i] * 1.05; }  // see (a) above\n",
    "chinese": "港口博物馆于一九三四年在一座旧制绳厂里开放。",
    "marks": '- a) b: c? [1, 2.5] "x" ',
    "one word": "a",
}


def speed_table(classifier: TaskClassifier) -> Iterator[str]:
    """Lines of Markdown. The same text stands in the system prompt, an earlier and the last turn."""
    yield "| text | characters of each turn | p50 ms | p99 ms |"
    yield "| --- | ---: | ---: | ---: |"
    for kind, piece in KINDS.items():
        for length in LENGTHS:
            text = (piece * (length // len(piece) + 1))[:length]
            body: dict[str, object] = {
                "messages": [
                    {"role": "system", "content": text},
                    {"role": "user", "content": text},
                    {"role": "assistant", "content": text},
                    {"role": "user", "content": text},
                ]
            }
            yield _line(classifier, f"{kind} | {length:,}", body)
    for kind in ("prose", "marks"):
        text = KINDS[kind] * (PART_CHARACTERS // len(KINDS[kind]))
        parts = [{"type": "text", "text": text}] * PARTS
        for roles in (("user",), (*["system"] * PARTS, "user", "assistant", "user")):
            body = {"messages": [{"role": role, "content": parts} for role in roles]}
            yield _line(
                classifier, f"{kind}, {len(roles)} turns of {PARTS} parts | {len(text):,} a part", body
            )


def _line(classifier: TaskClassifier, named: str, body: Mapping[str, object]) -> str:
    p50, p99 = np.percentile(_times_ms(classifier, body), (50, 99))
    return f"| {named} | {p50:.2f} | {p99:.2f} |"


def _times_ms(classifier: TaskClassifier, body: Mapping[str, object]) -> list[float]:
    # This thread's processor time: what else runs on the machine is not the classifier's.
    times = []
    for _ in range(REPEATS):
        started = time.thread_time_ns()
        classifier.classify(request_text(body))
        times.append((time.thread_time_ns() - started) / 1e6)
    return times
