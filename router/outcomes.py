"""The one record every dispatch ends in, and who gets to see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from policies.decide import Decision, Work
from replicas.frames import Ending
from router.requests import RoutedRequest

Result = Literal["completed", "refused", "cancelled", "failed"]
"""Answered to the end; answered with the request's own error; given up by the client; given up by us."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one request went. Times in seconds; `at_s` is unix time at its end, `work` what was expected."""

    request: RoutedRequest
    task: str
    confidence: float
    decision: Decision
    policy: str
    result: Result
    status: int
    at_s: float
    decision_s: float
    work: Work | None = None
    ttft_s: float | None = None
    total_s: float | None = None
    failovers: int = 0
    """How often it moved to another replica."""
    continued: int = 0
    """How often of these its stream had begun."""
    ending: Ending | None = None
    error: str | None = None
    canary: bool = False
    """Whether the canary's candidate decided it."""
    instead: bool = False
    """Whether the candidate should have, but failed to."""
    trace_id: str | None = None
    """Of its trace, as 32 hexadecimal digits; None where it was not traced."""


OutcomeHook = Callable[[Outcome], None]
"""Receives every outcome; must not block and must not raise."""
