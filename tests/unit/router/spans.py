"""Spans as the tests of tracing read them: kept in memory, by name, with their parents."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import DEFAULT_ON, Sampler

from replicas.fake import FakeEngine, FakeSettings
from replicas.frames import Call, Frame
from replicas.profiles import ModelSpec, Profile
from replicas.tracing import ReplicaTracer
from replicas.tracing_otel import OtelReplicaTracer, Tracing
from router.tracing_otel import OtelTracer

MODEL = "the-model"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
QUICK = FakeSettings(prefill_ms=0, step_ms=0)


class Recorded:
    """A tracer for the router and one for its replicas, and the spans of both."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler or DEFAULT_ON, shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracing = Tracing(self.provider)
        self.router = OtelTracer(self.tracing, MODEL)

    def replica(self, profile: str) -> OtelReplicaTracer:
        """The tracer of a replica."""
        return OtelReplicaTracer(self.tracing, profile=profile, replica=f"{profile}-1")

    @property
    def spans(self) -> list[ReadableSpan]:
        """All that have ended, by their start."""
        return sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def named(self, name: str) -> list[ReadableSpan]:
        """Those of this name."""
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        """The only one of this name."""
        (span,) = self.named(name)
        return span

    def tree(self) -> dict[str, Any]:
        """Names in names, of the only trace there is; siblings by their start, numbered where names repeat."""
        assert len({span.context.trace_id for span in self.spans}) == 1
        known = {span.context.span_id for span in self.spans}

        def under(parent: int | None) -> dict[str, Any]:
            found: dict[str, Any] = {}
            for span in self.spans:
                above = span.parent.span_id if span.parent and span.parent.span_id in known else None
                if above == parent:
                    again = sum(name.partition(" #")[0] == span.name for name in found)
                    name = f"{span.name} #{again + 1}" if again else span.name
                    found[name] = under(span.context.span_id)
            return found

        return under(None)

    def text(self) -> str:
        """All there is in all spans."""
        return "".join(span.to_json() for span in self.spans)


class EnginePool:
    """A pool whose only replica is a fake engine in this process, traced as replicas are."""

    def __init__(self, profile: Profile, tracer: ReplicaTracer, settings: FakeSettings = QUICK) -> None:
        self._engine = FakeEngine(profile, ModelSpec(name=MODEL), settings)
        self._tracer = tracer
        self.calls: list[Call] = []
        self.open = 0

    async def serve(
        self, call: Call, home: str = "", avoid: frozenset[str] = frozenset()
    ) -> AsyncGenerator[Frame, None]:
        """As `replicas.deployment` does."""
        self.calls.append(call)
        async with aclosing(self._tracer.watched(self._engine.serve, call)) as frames:
            async for frame in frames:
                yield frame

    async def status(self, home: str = "", avoid: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Always well."""
        return {"running": 0}


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """Of a span."""
    return dict(span.attributes or {})
