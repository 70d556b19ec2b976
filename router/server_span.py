"""The span of a request, from its receipt to the end of its answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from opentelemetry.trace import SpanKind, format_trace_id, set_span_in_context
from opentelemetry.util.types import AttributeValue

from replicas.frames import Headers
from replicas.tracing_otel import Tracing, failed
from router.trace_attributes import Attributes

_SERVER_ERROR: Final = 500


class ServerSpan:
    """The span of a request from its receipt on."""

    def __init__(self, tracing: Tracing, path: str, headers: Headers, attributes: Attributes) -> None:
        parent = tracing.extracted(headers)
        self._span = tracing.tracer.start_span(
            f"POST {path}",
            parent,
            SpanKind.SERVER,
            {"http.request.method": "POST", "http.route": path, "url.path": path, **attributes},
        )
        self.context = set_span_in_context(self._span, parent)
        self.sampled = self._span.is_recording()
        self.trace_id = format_trace_id(self._span.get_span_context().trace_id)
        self.routed = False
        """Whether it ends with the outcome of a dispatch; until then it ends with the response."""

    def set(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Describe it."""
        self._span.set_attributes(attributes)

    def event(self, name: str, attributes: Attributes) -> None:
        """Something happened."""
        self._span.add_event(name, attributes)

    def end(self, status: int, *, complete: bool = True) -> None:
        """The answer is over; 0 is the status of one that never began."""
        if status:
            self._span.set_attribute("http.response.status_code", status)
        if status >= _SERVER_ERROR:
            failed(self._span, str(status))
        elif not complete:
            failed(self._span, "failed")
        self._span.end()
