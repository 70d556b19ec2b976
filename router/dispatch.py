"""One request on its way: what is known of it so far, and what its client is told when it fails."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from http import HTTPStatus

from policies.cells import Origin
from policies.decide import Decision, Work
from policies.resolve import EffectivePolicy
from replicas.frames import Ending, Frame, ReplicaBusyError, ReplicaError
from router.admission import Slot
from router.errors import ApiError, DeadlineError, TooManyRequestsError, UnavailableError
from router.outcomes import Outcome, Result
from router.replaying import Transcript
from router.requests import RoutedRequest
from router.tracing import NO_TRACE, RequestTrace

_log = logging.getLogger(__name__)

RETRY_AFTER_S = 1


@dataclass(slots=True)
class Dispatch:
    """One request on its way, and what is known of it so far."""

    request: RoutedRequest
    task: str
    confidence: float
    policy: EffectivePolicy
    policy_label: str
    decision: Decision
    work: Work
    home: str
    decision_s: float
    started_s: float
    deadline_s: float
    """How long it may take, from its arrival."""
    until_s: float
    """When that is over, by the event loop's time."""
    canary: bool = False
    """Whether the canary's candidate decides it, instead of the policy in force."""
    instead: bool = False
    """Whether the candidate should have, but failed to."""
    transcript: Transcript | None = None
    """The tokens the client has; None where nobody asks for them."""
    status: int = 0
    """Of the answer; 0 while nothing of it has come."""
    head: bytes = b""
    """`Frame.head` of the stream, where another replica could continue it."""
    ttft_s: float | None = None
    failovers: int = 0
    """How often it was moved to another replica."""
    continued: int = 0
    """How often of these its stream had begun."""
    ending: Ending | None = None
    failed_at: frozenset[str] = frozenset()
    """Pools where it failed."""
    avoid: frozenset[str] = frozenset()
    """Those among them that should not get it again."""
    trace: RequestTrace = NO_TRACE
    slot: Slot | None = None
    """What it holds of the engines' room; None until it was let in."""

    def note(self, frame: Frame) -> bool:
        """Take in a frame that goes to the client; whether it is the first."""
        first = not self.status
        if first:
            self.status, self.head = frame.status, frame.head
        if self.transcript is not None:
            self.transcript.note(frame)
        if frame.ending is not None:
            self.ending = frame.ending
        return first

    @property
    def sent_tokens(self) -> int:
        """Tokens of the answer that the client has, where anybody asks for them."""
        return len(self.transcript.answer) if self.transcript is not None else 0

    def outcome(
        self, result: Result, *, status: int, error: str | None, at_s: float, total_s: float
    ) -> Outcome:
        """The record of it, now that it is over."""
        return Outcome(
            request=self.request,
            task=self.task,
            confidence=self.confidence,
            decision=self.decision,
            policy=self.policy_label,
            canary=self.canary,
            instead=self.instead,
            result=result,
            status=status,
            at_s=at_s,
            decision_s=self.decision_s,
            work=self.work,
            ttft_s=self.ttft_s,
            total_s=total_s,
            failovers=self.failovers,
            continued=self.continued,
            ending=self.ending,
            error=error,
            trace_id=self.trace.trace_id,
        )

    @property
    def origin(self) -> Origin:
        """Whose evidence it is."""
        request = self.request
        half_life_s = self.policy.acceptance.half_life
        return Origin(self.task, request.temperature, request.tenant, half_life_s, request.hints.weight)

    @property
    def answered(self) -> Result:
        """The result of a request whose answer is complete."""
        return "completed" if self.status < HTTPStatus.BAD_REQUEST else "refused"

    def told(self, failure: Exception) -> ApiError:
        """What the client gets to see of a failure."""
        match failure:
            case ApiError():
                return failure
            case TimeoutError():
                shorter = self.deadline_s < self.policy.limits.deadline
                limit = "X-Specroute-Deadline" if shorter else "the policy's limits.deadline"
                return DeadlineError(f"no complete answer within {limit} of {self.deadline_s:g} s")
            case ReplicaBusyError():
                return TooManyRequestsError(
                    "every slot and the queue are full: retry", retry_after_s=RETRY_AFTER_S
                )
            case ReplicaError():
                return UnavailableError(
                    "the engine failed before the answer was complete: retry", retry_after_s=RETRY_AFTER_S
                )
        _log.error("request %s failed", self.request.request_id, exc_info=failure)
        return ApiError("internal error; the service's log has the request id")
