"""Classification of JSONL, line by line: what `specroute classify` does, without the command line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from router.tasks import TaskClassifier, request_text


@dataclass(frozen=True, slots=True)
class ClassifiedLine:
    """The task of one line. `line_number` counts from 1."""

    line_number: int
    task: str
    confidence: float

    def to_json(self) -> str:
        """The line of output: task and confidence."""
        return json.dumps({"task": self.task, "confidence": round(self.confidence, 4)})


@dataclass(frozen=True, slots=True)
class LineError:
    """A line that is no request, and what to do about it. `line_number` counts from 1."""

    line_number: int
    problem: str
    fix: str

    def __str__(self) -> str:
        return f"line {self.line_number}: {self.problem}; {self.fix}"


def classify_lines(lines: Iterable[str], classifier: TaskClassifier) -> Iterator[ClassifiedLine | LineError]:
    """One result for every line that is not blank, in order and as soon as it is read.

    A line is a JSON object with `messages` (or `prompt`), an OpenAI request body. Further keys are allowed;
    those that tell the task (`tools`, `response_format`) are heeded.
    """
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _classify_line(number, line, classifier)


def _classify_line(number: int, line: str, classifier: TaskClassifier) -> ClassifiedLine | LineError:
    try:
        body = json.loads(line)
    except json.JSONDecodeError as error:
        return LineError(
            number, f"not JSON ({error.msg}, column {error.colno})", "write one JSON object a line"
        )
    except RecursionError:
        return LineError(number, "nested too deeply", 'write {"messages": [...]} with plain messages')
    if not isinstance(body, Mapping):
        return LineError(number, "not a JSON object", 'write {"messages": [...]}')
    if "messages" not in body and "prompt" not in body:
        return LineError(number, "no `messages`", 'add "messages": [{"role": "user", "content": "..."}]')
    problem = _messages_problem(body)
    if problem is not None:
        return LineError(number, problem, 'give each turn as {"role": "user", "content": "..."}')
    result = classifier.classify(request_text(body))
    return ClassifiedLine(number, result.task, result.confidence)


def _messages_problem(body: Mapping[str, object]) -> str | None:
    if "messages" not in body:
        return None
    messages = body["messages"]
    if not isinstance(messages, list) or not messages:
        return "`messages` is not a list of turns"
    if not any(isinstance(message, Mapping) and message.get("role") == "user" for message in messages):
        return "`messages` has no user turn"
    return None
