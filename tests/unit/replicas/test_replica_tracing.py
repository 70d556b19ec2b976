"""Tracing as the environment switches it on, a replica's spans, and what a dead collector must not do."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from replicas import tracing_otel
from replicas.frames import Call, Ending, Frame, ReplicaError
from replicas.tracing import (
    NoReplicaTracer,
    opened_replica_tracer,
    opened_tracing,
    wanted_exporters,
)
from replicas.tracing_otel import OtelReplicaTracer, Tracing

pytestmark = pytest.mark.unit

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CALL = Call("r-1", "/v1/completions", b"{}", 4, trace=(("traceparent", TRACEPARENT),))
ENDING = Ending("stop", 5, 0, 6, (4, 4), (3, 0), True, 0.001, 0.01, 0.25)
Step = Frame | BaseException


class Recorded:
    """A replica's tracer and its spans."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = OtelReplicaTracer(Tracing(provider), profile="ngram", replica="one")
        self.calls: list[Call] = []

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        """Those that have ended."""
        return {span.name: span for span in self._exporter.get_finished_spans()}

    async def read(self, *steps: Step, call: Call = CALL, most: int = 99) -> None:
        """Read at most so many frames of an engine that plays these steps."""

        async def serve(given: Call) -> AsyncGenerator[Frame, None]:
            self.calls.append(given)
            for step in steps:
                if isinstance(step, BaseException):
                    raise step
                yield step

        async with aclosing(self.tracer.watched(serve, call)) as frames:
            async for _ in frames:
                most -= 1
                if not most:
                    return


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


@pytest.mark.parametrize(
    ("environment", "exporters"),
    [
        ({}, ()),
        ({ENDPOINT: "http://c:4317"}, ("otlp_proto_grpc",)),
        ({ENDPOINT: ""}, ()),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/x"}, ("otlp_proto_grpc",)),
        ({ENDPOINT: "c", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, ("otlp_proto_http",)),
        (
            {
                ENDPOINT: "c",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            },
            ("otlp_proto_grpc",),
        ),
        ({ENDPOINT: "c", "OTEL_TRACES_EXPORTER": "none"}, ()),
        ({ENDPOINT: "c", "OTEL_SDK_DISABLED": "true"}, ()),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, ("otlp_proto_grpc",)),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, ("console", "otlp_proto_grpc")),
        ({"OTEL_METRICS_EXPORTER": "otlp", "OTEL_SERVICE_NAME": "x"}, ()),
    ],
)
def test_only_the_standard_variables_switch_it_on(
    environment: dict[str, str], exporters: tuple[str, ...]
) -> None:
    """An endpoint or an exporter; nothing else."""
    assert wanted_exporters(environment) == exporters


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({ENDPOINT: "c", "OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon"}, "OTEL_EXPORTER_OTLP_PROTOCOL"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER: 'zipkin' is none of otlp, console, none"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_BSP_MAX_QUEUE_SIZE": "-1"}, "max_queue_size"),
    ],
)
def test_settings_that_cannot_work_leave_it_off(
    environment: dict[str, str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Requests can do without; the log names the variable."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with caplog.at_level(logging.ERROR, "replicas.tracing"):
        assert isinstance(opened_replica_tracer("ngram", "one"), NoReplicaTracer)
    assert told in caplog.text


def test_the_resource_says_who_it_is_and_the_operator_has_the_last_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Router and replicas are services of their own, unless OTEL_SERVICE_NAME says otherwise."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod")
    for name, expected in (("", "specroute-replica"), ("mine", "mine")):
        monkeypatch.setenv("OTEL_SERVICE_NAME", name)
        tracing = opened_tracing("replica", **{"service.instance.id": "one"})
        assert tracing is not None
        found = tracing._provider.resource.attributes
        assert found["service.name"] == expected
        assert found["service.namespace"] == "specroute"
        assert found["service.instance.id"] == "one"
        assert found["deployment.environment.name"] == "prod"
        tracing.close()


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_both_protocols_of_otlp_can_be_had(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without anybody there to receive: a service starts before its collector does."""
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    tracing = opened_tracing("router")
    assert tracing is not None
    tracing.close()


async def test_a_stream_has_its_first_token_and_its_decoding() -> None:
    """In the trace of the call, with what the engine counted."""
    recorded = Recorded()
    await recorded.read(Frame(b"a", (1,), 200), Frame(b"b", (2, 3)), Frame(b"c", (4, 5, 6), ending=ENDING))
    generate, decode = recorded.spans["specroute.generate"], recorded.spans["specroute.decode"]
    assert f"{generate.context.trace_id:032x}" in TRACEPARENT
    assert f"{generate.parent.span_id:016x}" in TRACEPARENT
    assert decode.parent.span_id == generate.context.span_id
    (event,) = generate.events
    assert event.name == "specroute.first_token"
    assert generate.start_time <= event.timestamp == decode.start_time <= decode.end_time <= generate.end_time
    assert attributes(generate)["gen_ai.usage.output_tokens"] == 6
    assert attributes(generate)["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes(decode) == {
        "specroute.steps": 2,
        "specroute.drafted": 8,
        "specroute.accepted": 3,
        "specroute.acceptance_length": 2.5,
    }
    sent = dict(recorded.calls[0].trace)["traceparent"]
    assert sent.split("-")[2] == f"{generate.context.span_id:016x}"  # what the engine does is within it


async def test_an_answer_in_one_piece_has_them_by_the_engines_account() -> None:
    """Its only frame comes with the last token."""
    recorded = Recorded()
    await recorded.read(Frame(b"{}", (1, 2), 200, ending=ENDING))
    decode = recorded.spans["specroute.decode"]
    assert decode.end_time - decode.start_time == 250_000_000


async def test_a_refusal_has_a_status_and_no_decoding() -> None:
    """The engine decoded nothing."""
    recorded = Recorded()
    nothing = ENDING._replace(completion_tokens=0, decode_s=None, counted=False, finish_reason=None)
    await recorded.read(Frame(b"{}", (), 400, ending=nothing))
    assert set(recorded.spans) == {"specroute.generate"}
    assert attributes(recorded.spans["specroute.generate"])["http.response.status_code"] == 400


@pytest.mark.parametrize("error", [ReplicaError("about the prompt"), KeyError("about the prompt")])
async def test_a_failure_is_named_but_not_quoted(error: Exception) -> None:
    """The kind of error, not its text."""
    recorded = Recorded()
    with pytest.raises(type(error)):
        await recorded.read(Frame(b"a", (1,), 200), error)
    generate = recorded.spans["specroute.generate"]
    assert generate.status.status_code is StatusCode.ERROR
    assert attributes(generate)["error.type"] == type(error).__name__
    assert "prompt" not in generate.to_json()
    assert "specroute.decode" in recorded.spans


async def test_a_client_that_leaves_is_no_failure() -> None:
    """The span ends, and says that it was left."""
    recorded = Recorded()
    await recorded.read(Frame(b"a", (1,), 200), Frame(b"b", (2,)), most=1)
    generate = recorded.spans["specroute.generate"]
    assert generate.status.status_code is StatusCode.UNSET
    assert attributes(generate)["specroute.cancelled"] is True


@pytest.mark.parametrize("trace", [(), (("traceparent", TRACEPARENT[:-1] + "0"),)])
async def test_calls_of_no_trace_have_no_span(trace: Any) -> None:
    """Nor have those of one that is not sampled; the engine gets the same call."""
    recorded = Recorded()
    call = CALL._replace(trace=trace)
    await recorded.read(Frame(b"{}", (1,), 200, ending=ENDING), call=call)
    assert not recorded.spans
    assert recorded.calls == [call]


@pytest.mark.parametrize(
    ("trace", "found"),
    [
        ((), None),
        ((("baggage", "a=b"), ("traceparent", TRACEPARENT)), TRACEPARENT.split("-")[1]),
        ((("traceparent", ""),), None),
    ],
)
def test_a_call_knows_its_trace_for_the_log(trace: Any, found: str | None) -> None:
    """From the headers, without OpenTelemetry."""
    assert CALL._replace(trace=trace).trace_id == found


class Stuck(SpanExporter):
    """A collector that never answers."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.let_go = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        self.let_go.wait()
        return SpanExportResult.FAILURE


async def test_a_collector_that_never_answers_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests go on while the queue is full, and the end of the process does not wait for it."""
    monkeypatch.setattr(tracing_otel, "_CLOSE_S", 0.01)
    stuck = Stuck()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(stuck, max_queue_size=8, max_export_batch_size=4))
    tracer = OtelReplicaTracer(Tracing(provider), profile="ngram", replica="one")

    async def serve(_: Call) -> AsyncGenerator[Frame, None]:
        yield Frame(b"{}", (1, 2), 200, ending=ENDING)

    for _ in range(100):
        async with aclosing(tracer.watched(serve, CALL)) as frames:
            assert [frame.data async for frame in frames] == [b"{}"]
    assert await asyncio.to_thread(stuck.asked.wait, 60)
    tracer.close()
    assert not stuck.let_go.is_set()
    stuck.let_go.set()
