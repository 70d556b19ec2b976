"""The trace of a request as OpenTelemetry spans. docs/tracing.md describes them.

Names and attributes are those of OpenTelemetry's semantic conventions for HTTP and for generative AI where
they have some, and `specroute.*` otherwise.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from time import time_ns
from types import TracebackType
from typing import ParamSpec, Self

from opentelemetry.trace import SpanKind, set_span_in_context
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from policies.decide import Decision
from replicas.frames import Frame, ReplicaError
from replicas.tracing_otel import OPERATIONS, PROVIDER, Tracing, failed
from router.outcomes import Outcome, Result
from router.requests import RoutedRequest
from router.server_span import ServerSpan
from router.trace_attributes import Attributes, arm, asked, ended, grounds
from router.tracing import NO_TRACE, Attempt, NoAttempt, NoTrace, RequestTrace

_log = logging.getLogger(__name__)


_Given = ParamSpec("_Given")


def _harmless(told: Callable[_Given, None]) -> Callable[_Given, None]:
    """`told`, whose failures are logged: no request fails because somebody wants to know how it goes."""

    @wraps(told)
    def guarded(*args: _Given.args, **kwargs: _Given.kwargs) -> None:
        try:
            told(*args, **kwargs)
        except Exception:  # noqa: BLE001 - see above
            _log.exception("a request could not be traced to its end")

    return guarded


_received: ContextVar[ServerSpan | None] = ContextVar("received", default=None)


class OtelTracer:
    """Implements `router.tracing.Tracer`."""

    def __init__(self, tracing: Tracing, model: str) -> None:
        self._tracing = tracing
        self._model = model

    def wrapped(self, app: ASGIApp) -> ASGIApp:
        """See `Tracer.wrapped`."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in OPERATIONS:
                await self._serve(app, scope, receive, send)
            else:
                await app(scope, receive, send)

        return traced

    async def _serve(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            span = self._received(scope)
        except Exception:  # noqa: BLE001 - see `_harmless`
            _log.exception("a request could not be traced")
            await app(scope, receive, send)
            return
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        token = _received.set(span)
        try:
            await app(scope, receive, sending)
        finally:
            _received.reset(token)
            if not span.routed:
                span.end(status)

    def _received(self, scope: Scope) -> ServerSpan:
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
        about: Attributes = {
            "url.scheme": scope.get("scheme", "http"),
            "network.protocol.version": scope.get("http_version", "1.1"),
        }
        return ServerSpan(self._tracing, scope["path"], headers, about)

    def begin(self, request: RoutedRequest) -> RequestTrace:
        """See `Tracer.begin`."""
        try:
            span = _received.get()
            if span is None or span.routed:  # nobody received it by HTTP
                span = ServerSpan(self._tracing, request.path, (), {})
            if not span.sampled:
                return NoTrace(span.trace_id, self._tracing.injected(span.context))
            return _Trace(self._tracing, span, request, self._model)
        except Exception:  # noqa: BLE001 - see `_harmless`
            _log.exception("a request could not be traced")
            return NO_TRACE

    def close(self) -> None:
        """See `Tracer.close`."""
        self._tracing.close()


class _Trace:
    """Implements `RequestTrace`."""

    def __init__(self, tracing: Tracing, span: ServerSpan, request: RoutedRequest, model: str) -> None:
        self.trace_id: str | None = span.trace_id
        self.tracing = tracing
        self.span = span
        operation = OPERATIONS.get(request.path, request.path)
        self.call_name = f"{operation} {model}"
        self._called: Attributes = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": PROVIDER,
            "gen_ai.request.model": model,
        }
        self._admitted = False
        span.set({**self._called, **asked(request)})
        self.began_ns = time_ns()
        """When the present phase began."""

    @_harmless
    def classified(self, task: str, confidence: float, *, hinted: bool) -> None:
        found: Attributes = {
            "specroute.task": task,
            "specroute.task.confidence": confidence,
            "specroute.task.hinted": hinted,
        }
        self._phase("specroute.classify", found)

    @_harmless
    def decided(self, decision: Decision, policy: str) -> None:
        self.span.routed = True
        about: Attributes = {"specroute.policy": policy, **arm(decision), **grounds(decision)}
        self._phase("specroute.decide", about)

    @_harmless
    def admitted(self, *, waited: bool) -> None:
        self._admitted = True
        self._phase("specroute.queue", {"specroute.queue.waited": waited})

    def attempt(self, decision: Decision, *, number: int, tokens: int) -> Attempt:
        about: Attributes = {
            **self._called,
            "specroute.profile": decision.profile,
            "specroute.k": decision.k,
            "specroute.attempt": number,
            "specroute.continued_tokens": tokens,
        }
        try:
            return _Attempt(self, about)
        except Exception:  # noqa: BLE001 - see `_harmless`
            _log.exception("an attempt could not be traced")
            return NoAttempt()

    @_harmless
    def moved(self, error: Exception, *, tokens: int) -> None:
        about: Attributes = {"error.type": type(error).__qualname__, "specroute.continued_tokens": tokens}
        if isinstance(error, ReplicaError) and error.replica:
            about["specroute.replica"] = error.replica
        self.span.event("specroute.failover", about)
        self.began_ns = time_ns()

    @_harmless
    def finishing(self, result: Result) -> None:
        if not self._admitted:
            self._phase("specroute.queue", {}, error="" if result == "cancelled" else result)
        self.began_ns = time_ns()

    @_harmless
    def end(self, outcome: Outcome) -> None:
        self._phase("specroute.record", {"specroute.result": outcome.result})
        self.span.set(ended(outcome))
        self.span.end(outcome.status, complete=outcome.result != "failed")

    def _phase(self, name: str, attributes: Attributes, *, error: str = "") -> None:
        """A span from the end of the phase before until now."""
        span = self.tracing.tracer.start_span(
            name, self.span.context, attributes=attributes, start_time=self.began_ns
        )
        if error:
            failed(span, error)
        self.began_ns = time_ns()
        span.end(self.began_ns)


class _Attempt:
    """Implements `Attempt`: the span of a call, in which the replica's own is."""

    def __init__(self, trace: _Trace, attributes: Attributes) -> None:
        context = trace.span.context
        self._trace = trace
        self._span = trace.tracing.tracer.start_span(trace.call_name, context, SpanKind.CLIENT, attributes)
        self.headers = trace.tracing.injected(set_span_in_context(self._span, context))

    def __enter__(self) -> Self:
        return self

    @_harmless
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, Exception):  # others end it from outside
            failed(self._span, kind.__qualname__)
        self._span.end()
        self._trace.began_ns = time_ns()

    @_harmless
    def answered(self, frame: Frame) -> None:
        self._span.add_event("specroute.first_frame")
        self._span.set_attribute("http.response.status_code", frame.status)
        if frame.replica:
            self._span.set_attribute("specroute.replica", frame.replica)
