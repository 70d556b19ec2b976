"""What telling the task of a request costs: reading its body, and the trained classifier.

Prompts are the project's own, and besides one of each length up to what a client may send: the classifier
looks at a bounded part of long ones. Times are the thread's own, since the machine is shared.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Final

import numpy as np

from bench.endtoend.workload import own_prompts
from router.tasks import TaskClassifier, request_text
from router.tasks.trained import trained_classifier

MIXED: Final = "own prompts"
_WORDS: Final = "The harbour museum opened in 1934 in a former rope factory; what does the text say of it? "
_LENGTHS: Final = (100, 1_000, 10_000, 100_000)


def bodies() -> dict[str, list[bytes]]:
    """Requests by what they are called: own prompts of all tasks, and single ones by their characters."""
    mixed = [_body(prompt.messages) for number, prompt in enumerate(own_prompts()) if number % 8 == 0]
    long = {
        f"{length} characters": [
            _body([{"role": "user", "content": (_WORDS * (length // len(_WORDS) + 1))[:length]}])
        ]
        for length in _LENGTHS
    }
    return {MIXED: mixed, **long}


def measured(requests: Sequence[bytes], rounds: int) -> dict[str, float]:
    """Time to classify each of the requests, `rounds` times: median, and 99 of 100, in µs; and the rate."""
    classifier = trained_classifier()
    for body in requests:
        _classify(classifier, body)
    taken = []
    for _ in range(rounds):
        for body in requests:
            began = time.thread_time()
            _classify(classifier, body)
            taken.append(time.thread_time() - began)
    return {
        "classifications_per_s": len(taken) / sum(taken),
        "classification_p50_us": 1e6 * float(np.percentile(taken, 50)),
        "classification_p99_us": 1e6 * float(np.percentile(taken, 99)),
    }


def _body(messages: object) -> bytes:
    return json.dumps({"model": "bench", "messages": messages}).encode()


def _classify(classifier: TaskClassifier, body: bytes) -> None:
    classifier.classify(request_text(json.loads(body)))
