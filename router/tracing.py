"""The trace of a request, told phase by phase; off unless OpenTelemetry's environment variables switch it on.

OpenTelemetry itself is imported only then (`router.tracing_otel`). docs/tracing.md describes the spans.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Protocol, Self

from starlette.types import ASGIApp

from policies.decide import Decision
from replicas.frames import Frame, Headers
from replicas.tracing import opened_tracing
from router.outcomes import Outcome, Result
from router.requests import RoutedRequest


class Attempt(AbstractContextManager["Attempt"], Protocol):
    """One call to a replica; entered when it begins, left when it is over, with the error if it failed."""

    headers: Headers
    """The context for the replica."""

    def answered(self, frame: Frame) -> None:
        """The first frame is there."""
        ...


class RequestTrace(Protocol):
    """The trace of one request.

    Phases follow each other: each begins where the one before ended, and is told once, when it is over.
    """

    trace_id: str | None
    """As 32 hexadecimal digits; None without a trace."""

    def classified(self, task: str, confidence: float, *, hinted: bool) -> None:
        """Its task is known; `hinted` where the client said it."""
        ...

    def decided(self, decision: Decision, policy: str) -> None:
        """It was decided, for the first time or anew."""
        ...

    def admitted(self, *, waited: bool) -> None:
        """It has a slot."""
        ...

    def attempt(self, decision: Decision, *, number: int, tokens: int) -> Attempt:
        """It goes to a pool, for the `number`th time from 1; the client has `tokens` of its answer."""
        ...

    def moved(self, error: Exception, *, tokens: int) -> None:
        """It will go to another replica, for this error; the client has `tokens` of its answer."""
        ...

    def finishing(self, result: Result) -> None:
        """It is over, but not recorded."""
        ...

    def end(self, outcome: Outcome) -> None:
        """It is recorded."""
        ...


class Tracer(Protocol):
    """Makes the traces of one router."""

    def wrapped(self, app: ASGIApp) -> ASGIApp:
        """`app`, whose requests to the model are traced from their receipt on."""
        ...

    def begin(self, request: RoutedRequest) -> RequestTrace:
        """The trace of a request that was read and is to be routed."""
        ...

    def close(self) -> None:
        """Send what waits, as far as that is quick. Blocks for a moment."""
        ...


class NoAttempt:
    """Carries a context along, and tells nobody anything."""

    def __init__(self, headers: Headers = ()) -> None:
        self.headers = headers

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        pass

    def answered(self, frame: Frame) -> None:
        """Nothing."""


class NoTrace:
    """Tells nobody anything; where the trace was not sampled, it carries the word of that along."""

    def __init__(self, trace_id: str | None = None, headers: Headers = ()) -> None:
        self.trace_id = trace_id
        self._attempt = NoAttempt(headers)

    def classified(self, task: str, confidence: float, *, hinted: bool) -> None:
        """See `RequestTrace`, as for all of these."""

    def decided(self, decision: Decision, policy: str) -> None:
        """Nothing."""

    def admitted(self, *, waited: bool) -> None:
        """Nothing."""

    def attempt(self, decision: Decision, *, number: int, tokens: int) -> Attempt:  # noqa: ARG002 - the protocol's
        """The same one for all."""
        return self._attempt

    def moved(self, error: Exception, *, tokens: int) -> None:
        """Nothing."""

    def finishing(self, result: Result) -> None:
        """Nothing."""

    def end(self, outcome: Outcome) -> None:
        """Nothing."""


NO_TRACE: Final = NoTrace()


class NoTracer:
    """Traces nothing, and stands nowhere in the way."""

    def wrapped(self, app: ASGIApp) -> ASGIApp:
        """`app` itself."""
        return app

    def begin(self, request: RoutedRequest) -> RequestTrace:  # noqa: ARG002 - the protocol's
        """The same one for all."""
        return NO_TRACE

    def close(self) -> None:
        """Nothing is there to send."""


def opened_tracer(model: str) -> Tracer:
    """The tracer of a router that serves `model`, as its environment says."""
    tracing = opened_tracing("router")
    if tracing is None:
        return NoTracer()
    from router.tracing_otel import OtelTracer  # noqa: PLC0415 - only where tracing is on

    return OtelTracer(tracing, model)
