"""Task classification: which kind of work a request asks for.

`request_text` reads an OpenAI body, a `TaskClassifier` decides. The service asks `router.tasks.custom`'s
PolicyClassifier: custom tasks by their keywords, then the deployment's own classifier if there is one, then
`router.tasks.trained`. `RuleClassifier` is what the trained one stands on: its rules are features.
"""

from router.tasks.protocol import Classification, RequestText, TaskClassifier
from router.tasks.request_text import request_text
from router.tasks.rules import RuleClassifier

__all__ = ["Classification", "RequestText", "RuleClassifier", "TaskClassifier", "request_text"]
