"""A real OTLP receiver gets one trace per request, across the processes of a real service with fake engines."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple

import breaking
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from services import MODEL, Service, policy
from waiting import ANSWER_S, PATIENCE_S, until

pytestmark = pytest.mark.integration

PATH = "/v1/chat/completions"
SERVER, CALL = f"POST {PATH}", f"chat {MODEL}"
PARENT = "b7ad6b7169203331"


class Got(NamedTuple):
    """A span as it arrived."""

    name: str
    service: str
    pid: int
    span: str
    parent: str
    begins: int
    failed: bool
    events: list[str]
    attributes: dict[str, Any]


class Receiver(ThreadingHTTPServer):
    """An OTLP collector of spans, over HTTP with protobuf."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self._got: list[tuple[str, Got]] = []
        Thread(target=self.serve_forever, daemon=True).start()

    def take(self, body: bytes) -> None:
        """Keep the spans of an export."""
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _values(group.resource.attributes)
            self._got += [
                (
                    span.trace_id.hex(),
                    Got(
                        name=span.name,
                        service=resource["service.name"],
                        pid=resource["process.pid"],
                        span=span.span_id.hex(),
                        parent=span.parent_span_id.hex(),
                        begins=span.start_time_unix_nano,
                        failed=span.status.code == Status.STATUS_CODE_ERROR,
                        events=[event.name for event in span.events],
                        attributes=_values(span.attributes),
                    ),
                )
                for scope in group.scope_spans
                for span in scope.spans
            ]

    def trace(self, trace_id: str) -> list[Got]:
        """The spans of a trace that have arrived, by their start."""
        return sorted((span for of, span in self._got if of == trace_id), key=lambda span: span.begins)

    def whole(self, trace_id: str, spans: int) -> list[Got]:
        """The spans of a trace, once so many have arrived."""
        until(lambda: len(self.trace(trace_id)) >= spans, PATIENCE_S)
        return self.trace(trace_id)


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Receiver)
        self.server.take(self.rfile.read(int(self.headers["content-length"])))
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Nothing: the tests look at what arrived."""


def _values(attributes: Any) -> dict[str, Any]:
    found = {}
    for one in attributes:
        kind = one.value.WhichOneof("value")
        value = getattr(one.value, kind)
        found[one.key] = (
            [getattr(item, item.WhichOneof("value")) for item in value.values]
            if kind == "array_value"
            else value
        )
    return found


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver
        receiver.shutdown()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Service]:
    """Answers slowly, so that an engine can be ended in the middle of one; traces and logs for machines."""
    folder = tmp_path_factory.mktemp("traces")
    file = folder / "policy.yaml"
    file.write_text(policy("traced"))
    service = Service(
        folder / "service",
        variables={
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "NO_PROXY": "127.0.0.1",
            "SPECROUTE_LOG_FORMAT": "json",
        },
        fake_engines={"step_ms": 40, "prefill_ms": 1},
        policy={"path": str(file)},
    )
    try:
        yield service.wait_until_ready()
    finally:
        service.end(signal.SIGINT, group=True)


def asked(trace_id: str, tokens: int) -> dict[str, Any]:
    """The arguments of a streamed request of a client that traces itself."""
    return {
        "json": {
            "model": MODEL,
            "max_tokens": tokens,
            "stream": True,
            "messages": [{"role": "user", "content": "Write a function."}],
        },
        "headers": {"traceparent": f"00-{trace_id}-{PARENT}-01", "X-Specroute-Route": "speculative"},
        "timeout": ANSWER_S,
    }


def lines(service: Service) -> list[dict[str, Any]]:
    """The router's log."""
    return [
        json.loads(line) for line in (service.run_folder / "logs" / "router.log").read_text().splitlines()
    ]


def test_a_request_is_one_trace_across_router_and_replica(service: Service, receiver: Receiver) -> None:
    """In the client's trace; each process sends its own spans, and they fit into each other."""
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    response = httpx.post(f"{service.url}{PATH}", **asked(trace_id, 12))
    assert response.status_code == 200
    spans = receiver.whole(trace_id, 8)
    ids = {span.span: span.name for span in spans}
    assert {(span.name, ids.get(span.parent, span.parent)) for span in spans} == {
        (SERVER, PARENT),
        ("specroute.classify", SERVER),
        ("specroute.decide", SERVER),
        ("specroute.queue", SERVER),
        (CALL, SERVER),
        ("specroute.generate", CALL),
        ("specroute.decode", "specroute.generate"),
        ("specroute.record", SERVER),
    }
    assert len(spans) == 8
    by_name = {span.name: span for span in spans}
    replica = {"specroute.generate", "specroute.decode"}
    assert {span.service for span in spans if span.name in replica} == {"specroute-replica"}
    assert {span.service for span in spans if span.name not in replica} == {"specroute-router"}
    assert by_name["specroute.generate"].pid != by_name[SERVER].pid
    assert by_name["specroute.generate"].events == ["specroute.first_token"]
    assert (
        by_name["specroute.decide"].attributes["specroute.reason"] == response.headers["X-Specroute-Reason"]
    )
    assert by_name[SERVER].attributes["specroute.request_id"] == response.headers["X-Request-Id"]
    assert by_name[SERVER].attributes["gen_ai.usage.output_tokens"] == 12
    found = service.get(f"/admin/v1/decisions?trace_id={trace_id}")["decisions"]
    assert [one["request_id"] for one in found] == [response.headers["X-Request-Id"]]


def test_a_failover_is_two_calls_in_one_trace(service: Service, receiver: Receiver) -> None:
    """The engine is ended while the stream runs; the log's line of it names request and trace."""
    trace_id = "1af7651916cd43dd8448eb211c80319c"

    def moved() -> dict[str, Any]:
        return next((line for line in lines(service) if " goes on at " in line["message"]), {})

    with httpx.stream("POST", f"{service.url}{PATH}", **asked(trace_id, 6000)) as response:
        events = response.iter_lines()
        next(events)
        breaking.kill(breaking.replicas(service.processes(), "ngram")[0])
        for _ in events:  # for minutes, if need be
            if moved():
                break
        else:
            pytest.fail("the stream ended on the engine that was ended")
    until(lambda: SERVER in {span.name for span in receiver.trace(trace_id)}, PATIENCE_S)
    until(lambda: "specroute.generate" in {span.name for span in receiver.trace(trace_id)}, PATIENCE_S)
    spans = receiver.trace(trace_id)
    first, second = (span for span in spans if span.name == CALL)
    server = next(span for span in spans if span.name == SERVER)
    assert (first.failed, second.failed) == (True, False)
    assert first.parent == second.parent == server.span
    assert [
        (span.attributes["specroute.attempt"], span.attributes["specroute.profile"])
        for span in (first, second)
    ] == [
        (1, "ngram"),
        (2, "vanilla"),
    ]
    assert server.events == ["specroute.failover"]
    assert server.attributes["specroute.result"] == "cancelled"
    assert [span.parent for span in spans if span.name == "specroute.generate"] == [second.span]
    line = moved()
    assert line["trace_id"] == trace_id
    assert line["request_id"] == response.headers["X-Request-Id"]
    assert (line["level"], line["process"], line["logger"]) == ("INFO", "router", "router.failover")


def test_without_the_collector_requests_are_answered(service: Service, receiver: Receiver) -> None:
    """It goes away; nobody who asks for an answer notices."""
    receiver.shutdown()
    receiver.server_close()
    assert all(service.answers() for _ in range(5))
