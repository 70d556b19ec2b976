"""What the router expects of a request beforehand, from what became of others like it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from policies.cost import OutputLengths, PredictionError, PromptLengths, ServiceTimes
from policies.decide import Route, Score, Work
from policies.memory import Home, Memory
from router.outcomes import Outcome
from router.requests import RoutedRequest

_LIMITS = ("max_completion_tokens", "max_tokens")
_CUT = "length"


class Expectations:
    """Learns lengths and times from outcomes, and keeps the router's memory of choices and conversations."""

    def __init__(self, starting: Mapping[str, Route] | None = None) -> None:
        """`starting` are the routes to begin with, by task."""
        self.memory = Memory(starting or {})
        self.predictions = PredictionError()
        self._outputs = OutputLengths()
        self._prompts = PromptLengths()
        self._services = ServiceTimes()

    def work(self, request: RoutedRequest, task: str, home: Home | None, now_s: float) -> Work:
        """What `request` asks of an engine, in tokens; `home` is where its conversation is."""
        return Work(
            prompt_tokens=self._prompts.tokens(len(request.body), now_s),
            output_tokens=self._outputs.expected(task, request.tenant, _max_tokens(request.fields), now_s),
            cached=None if home is None else {home.profile: home.tokens},
        )

    def residence_s(self, profile: str, expected_s: float, now_s: float) -> float:
        """How long a request usually stays on an engine of the pool."""
        return self._services.mean_s(profile, expected_s, now_s)

    def on_outcome(self, outcome: Outcome) -> None:
        """Learn from one request that was answered."""
        ending, request, at_s = outcome.ending, outcome.request, outcome.at_s
        if outcome.result != "completed" or ending is None:
            return
        profile = outcome.decision.profile
        self._outputs.observe(
            outcome.task,
            request.tenant,
            ending.completion_tokens,
            cut=ending.finish_reason == _CUT,
            now_s=at_s,
        )
        self._prompts.observe(
            outcome.task, len(request.body), ending.prompt_tokens, ending.cached_tokens, at_s
        )
        home = Home(profile, ending.replica, ending.prompt_tokens + ending.completion_tokens)
        self.memory.said(request.conversation.after, home, at_s)
        if ending.ttft_s is None or ending.decode_s is None:
            return
        self._services.observe(profile, ending.ttft_s - (ending.queued_s or 0.0) + ending.decode_s, at_s)
        predicted_s = predicted_decode_s(outcome.decision.score, outcome.work, ending.completion_tokens)
        if predicted_s is not None:
            self.predictions.observe(profile, predicted_s=predicted_s, measured_s=ending.decode_s, now_s=at_s)


def predicted_decode_s(score: Score | None, work: Work | None, tokens: int) -> float | None:
    """The decode time that was predicted, for as many tokens as there were in the end."""
    if score is None or work is None or work.output_tokens <= 1.0:
        return None
    return score.decode_s / (work.output_tokens - 1.0) * max(0, tokens - 1)


_MOST_TOKENS: Final = 2**31
"""No model has more; what asks for more asks for as much as there is, and may be no float any more."""


def _max_tokens(fields: Mapping[str, Any]) -> int | None:
    for name in _LIMITS:
        limit = fields.get(name)
        if isinstance(limit, int) and not isinstance(limit, bool) and limit > 0:
            return min(limit, _MOST_TOKENS)
    return None
