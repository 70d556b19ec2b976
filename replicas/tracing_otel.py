"""OpenTelemetry: the SDK as its environment variables set it up, and the spans of a replica.

Whoever is traced never waits: spans go into the bounded queue of the SDK's batch processor, whose thread
sends them; where it is full the oldest are dropped. Nothing global is set, so that vLLM's own tracing in the
same process stays apart.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from importlib.metadata import PackageNotFoundError, entry_points, version
from time import time_ns
from typing import Final

from opentelemetry.context import Context
from opentelemetry.propagate import get_global_textmap
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.util.types import AttributeValue

from replicas.frames import Call, Ending, Frame, Headers
from replicas.tracing import Serve

_log = logging.getLogger(__name__)

PROVIDER: Final = "vllm"
"""Who generates, as `gen_ai.provider.name`."""
OPERATIONS: Final[Mapping[str, str]] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "text_completion",
}
"""What the endpoints are called in the semantic conventions for generative AI."""

_CLOSE_S: Final = 2.0
_NS: Final = 1_000_000_000


class Tracing:
    """The SDK of this process: makes spans, and carries their context in and out."""

    def __init__(self, provider: TracerProvider, propagator: TextMapPropagator | None = None) -> None:
        self._provider = provider
        self._propagator = propagator or get_global_textmap()
        self.tracer: Tracer = provider.get_tracer("specroute", _version())

    @classmethod
    def to(cls, exporters: tuple[str, ...], role: str, **attributes: str) -> Tracing:
        """Tracing to these exporters (entry points). Sampler, limits and the queue are the environment's.

        Raises:
            ValueError: No package that is installed has an exporter of such a name; or whatever an exporter
                raises for settings that cannot work.
        """
        made = []
        for name in exporters:
            found = next(iter(entry_points(group="opentelemetry_traces_exporter", name=name)), None)
            if found is None:
                raise ValueError(f"OTEL_TRACES_EXPORTER: {name[:64]!r} is none of otlp, console, none")
            made.append(found.load()())
        described: dict[str, str | int] = {
            "service.name": f"specroute-{role}",
            "service.namespace": "specroute",
            "service.version": _version(),
            "process.pid": os.getpid(),
            **attributes,
        }
        resource = Resource.create(described).merge(
            OTELResourceDetector().detect()
        )  # the operator's word last
        # The end of this process is not the exporter's to delay: `close` is called in time.
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        for exporter in made:
            provider.add_span_processor(BatchSpanProcessor(exporter))
        return cls(provider)

    def extracted(self, headers: Headers) -> Context:
        """The context that headers (names in lower case) carry; a new one where they carry none."""
        fields = self._propagator.fields
        carrier: dict[str, str] = {}
        for name, value in headers:
            if name in fields:  # a header that comes in parts is one list; two of traceparent are none
                carrier[name] = f"{carrier[name]},{value}" if name in carrier else value
        return self._propagator.extract(carrier, Context())

    def injected(self, context: Context) -> Headers:
        """The headers that carry a context."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, context)
        return tuple(carrier.items())

    def close(self) -> None:
        """Send what waits and end the SDK's thread, within a moment: a dead collector must not hold us up."""
        ending = threading.Thread(target=self._provider.shutdown, name="end-tracing", daemon=True)
        ending.start()
        ending.join(_CLOSE_S)


class OtelReplicaTracer:
    """Implements `replicas.tracing.ReplicaTracer`."""

    def __init__(self, tracing: Tracing, *, profile: str, replica: str) -> None:
        self._tracing = tracing
        self._profile = profile
        self._replica = replica

    def watched(self, serve: Serve, call: Call) -> AsyncGenerator[Frame, None]:
        """See `ReplicaTracer.watched`. Calls of no trace, such as a router's polls, have no span either."""
        if not call.trace:
            return serve(call)
        context = self._tracing.extracted(call.trace)
        span = self._tracing.tracer.start_span(
            "specroute.generate",
            context,
            SpanKind.SERVER,
            {
                "gen_ai.operation.name": OPERATIONS.get(call.path, call.path),
                "gen_ai.provider.name": PROVIDER,
                "specroute.request_id": call.request_id,
                "specroute.profile": self._profile,
                "specroute.replica": self._replica,
                "specroute.k": call.k,
            },
        )
        if not span.is_recording():
            return serve(call)
        context = set_span_in_context(span, context)
        return self._frames(serve, call._replace(trace=self._tracing.injected(context)), span, context)

    def close(self) -> None:
        """See `ReplicaTracer.close`."""
        self._tracing.close()

    async def _frames(
        self, serve: Serve, call: Call, span: Span, context: Context
    ) -> AsyncGenerator[Frame, None]:
        seen = _Seen()
        try:
            async with aclosing(serve(call)) as frames:
                async for frame in frames:
                    seen.note(frame)
                    yield frame
        except (GeneratorExit, asyncio.CancelledError):
            span.set_attribute("specroute.cancelled", seen.ending is None)
            raise
        except BaseException as failure:
            failed(span, type(failure).__qualname__)
            raise
        finally:
            try:
                self._end(span, seen, context)
            except Exception:  # noqa: BLE001 - no answer is lost for its span
                _log.exception("a span could not be ended")

    def _end(self, span: Span, seen: _Seen, context: Context) -> None:
        span.set_attributes(seen.attributes())
        if (decoding := seen.decoding()) is not None:
            first_ns, last_ns = decoding
            span.add_event("specroute.first_token", timestamp=first_ns)
            self._tracing.tracer.start_span(
                "specroute.decode", context, attributes=seen.steps(), start_time=first_ns
            ).end(last_ns)
        span.end()


class _Seen:
    """What is noted of an answer while it goes by."""

    def __init__(self) -> None:
        self.ending: Ending | None = None
        self._status = 0
        self._first_ns = 0
        self._last_ns = 0

    def note(self, frame: Frame) -> None:
        """Take in a frame."""
        self._status = self._status or frame.status
        if frame.ending is not None:
            self.ending, self._last_ns = frame.ending, time_ns()
        elif frame.token_ids and not self._first_ns:
            self._first_ns = time_ns()

    def decoding(self) -> tuple[int, int] | None:
        """When the first and the last token came, in ns since 1970; None where no token came.

        An answer in one piece came with its last token; the engine says how long before that the first was.
        """
        ending = self.ending
        if self._first_ns:
            return self._first_ns, self._last_ns or time_ns()
        if ending is None or ending.decode_s is None:
            return None
        return self._last_ns - int(ending.decode_s * _NS), self._last_ns

    def attributes(self) -> dict[str, AttributeValue]:
        """What came of it."""
        found: dict[str, AttributeValue] = {}
        if self._status:
            found["http.response.status_code"] = self._status
        return found if self.ending is None else found | usage(self.ending)

    def steps(self) -> dict[str, AttributeValue]:
        """How its steps went, where they are counted."""
        if self.ending is None or not self.ending.counted:
            return {}
        steps, accepted = len(self.ending.per_step_accepted), sum(self.ending.per_step_accepted)
        found: dict[str, AttributeValue] = {
            "specroute.steps": steps,
            "specroute.drafted": sum(self.ending.per_step_drafted),
            "specroute.accepted": accepted,
        }
        return found | ({"specroute.acceptance_length": 1 + accepted / steps} if steps else {})


def usage(ending: Ending) -> dict[str, AttributeValue]:
    """What the semantic conventions for generative AI say of an answer."""
    found: dict[str, AttributeValue] = {
        "gen_ai.usage.input_tokens": ending.prompt_tokens,
        "gen_ai.usage.output_tokens": ending.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": ending.cached_tokens,
    }
    if ending.finish_reason is not None:
        found["gen_ai.response.finish_reasons"] = (ending.finish_reason,)
    if ending.queued_s is not None:
        found["specroute.engine.queued_s"] = ending.queued_s
    return found


def failed(span: Span, error: str) -> None:
    """Mark a span as failed, with the kind of the error and without its text, which may quote the request."""
    span.set_attribute("error.type", error)
    span.set_status(StatusCode.ERROR)


def _version() -> str:
    try:
        return version("specroute")
    except PackageNotFoundError:
        return "unknown"
