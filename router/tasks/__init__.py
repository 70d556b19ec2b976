"""Task classification: which kind of work a request asks for.

`request_text` reads an OpenAI body, a `TaskClassifier` decides. `RuleClassifier` is the one there is today.
"""

from router.tasks.protocol import Classification, RequestText, TaskClassifier
from router.tasks.request_text import request_text
from router.tasks.rules import RuleClassifier

__all__ = ["Classification", "RequestText", "RuleClassifier", "TaskClassifier", "request_text"]
