"""What tracing costs a request on its way through the router, in one process and without a network.

Requests take the whole path: body, classification, decision, admission, dispatch to a pool that answers at
once with a stream of 16 frames, record. `ratio` compares with `off` the CPU time of the thread that answers,
`process` that of all threads: the exporter's encodes the spans (and drops them: no collector's speed is
measured). See `bench.interleaved` for how they are compared.

    python -m bench.request_path [--rounds 40] [--requests 50] [--json]

`calls` is what a request spends on tracing while that is off: all calls of a request to the tracer that does
nothing. It cannot be a variant, since a request without them does not exist.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from random import Random
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import DEFAULT_OFF, DEFAULT_ON, ParentBasedTraceIdRatio, Sampler

from bench.interleaved import Variant, compared, run
from policies.learner import Drafter
from replicas.frames import Call, Ending, Frame
from replicas.profiles import Profile
from replicas.tracing import NoReplicaTracer, ReplicaTracer
from replicas.tracing_otel import OtelReplicaTracer, Tracing
from router.canary import Canary
from router.deciding import Decider
from router.expectations import Expectations
from router.learning import Learning
from router.outcomes import Outcome, OutcomeHook
from router.policy_source import PolicySource
from router.pools import Pools
from router.requests import read_request
from router.service import RoutingService
from router.stats import StatsBuffer
from router.tasks.trained import trained_classifier
from router.tracing import NoTracer, Tracer
from router.tracing_otel import OtelTracer

PATH = "/v1/chat/completions"
_PROFILES = (Profile(name="vanilla"), Profile(name="ngram", method="ngram", k=8))
_FRAMES = 16
BODY = json.dumps(
    {
        "model": "bench",
        "stream": True,
        "max_tokens": 64,
        "messages": [
            {"role": "user", "content": "Write a Python function that merges two sorted lists. " * 8}
        ],
    }
).encode()
_CONTEXT = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


class Encoded(SpanExporter):
    """Does what an exporter does before it sends."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Encode and drop."""
        encode_spans(spans).SerializeToString()
        return SpanExportResult.SUCCESS


def main() -> int:
    """Measure and print."""
    return run(__doc__.splitlines()[0], _measured)


async def _measured(rounds: int, requests: int) -> dict[str, dict[str, Any]]:
    samplers: dict[str, Sampler | None] = {
        "off": None,
        "off again": None,
        "on, none sampled": DEFAULT_OFF,
        "on, 5 % sampled": ParentBasedTraceIdRatio(0.05),
        "on, all sampled": DEFAULT_ON,
    }
    paths = {name: await _variant(sampler) for name, sampler in samplers.items()}
    rows = await compared(paths, rounds, requests)
    replicas = {name: _replica(sampler) for name, sampler in samplers.items() if "5 %" not in name}
    rows |= {f"replica: {name}": row for name, row in (await compared(replicas, rounds, requests)).items()}
    rows["calls"] = {"us": _calls_us()}
    for variant in (*paths.values(), *replicas.values()):
        variant.close()
    return rows


def _tracing(sampler: Sampler) -> Tracing:
    provider = TracerProvider(sampler, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Encoded()))
    return Tracing(provider)


async def _variant(sampler: Sampler | None) -> Variant:
    """The router's path over pools that answer at once."""
    tracer: Tracer = NoTracer() if sampler is None else OtelTracer(_tracing(sampler), "bench")
    service = await routing_service(tracer)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        del receive
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        response = await service.respond(read_request(PATH, headers, BODY))
        await send({"type": "http.response.start", "status": response.status})
        async with aclosing(response.body) as body:
            async for part in body:
                await send({"type": "http.response.body", "body": part})

    async def send(message: Any) -> None:
        pass

    wrapped = tracer.wrapped(app)
    scope = {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "headers": [(b"content-type", b"application/json")],
    }

    async def ask() -> None:
        await wrapped(scope, send, send)  # type: ignore[arg-type]  # nobody receives

    return Variant(ask, tracer.close)


async def routing_service(tracer: Tracer, *more: OutcomeHook) -> RoutingService:
    """A router over pools that answer at once; `more` are outcome hooks beside those it cannot do without."""
    clock = time.time
    pools = Pools([(profile, _Pool()) for profile in _PROFILES])
    await pools.poll()
    learning = Learning(StatsBuffer(), {p.name: Drafter(p.method, p.k) for p in _PROFILES})
    expectations = Expectations()
    policies = PolicySource(None, clock)
    outcomes: list[Outcome] = []

    def keep(outcome: Outcome) -> None:
        outcomes[:] = [outcome]

    return RoutingService(
        policies=Canary(policies, clock=clock),
        pools=pools,
        classifier=trained_classifier(),
        learning=learning,
        decider=Decider(
            pools=pools, learning=learning, expectations=expectations, clock=clock, rng=Random(1)
        ),
        hooks=(expectations.on_outcome, keep, *more),
        tracer=tracer,
    )


def _replica(sampler: Sampler | None) -> Variant:
    """What a replica does beside its engine."""
    tracer: ReplicaTracer = (
        NoReplicaTracer()
        if sampler is None
        else OtelReplicaTracer(_tracing(sampler), profile="ngram", replica="one")
    )
    context = () if sampler is None else ((_CONTEXT),)
    if sampler is DEFAULT_OFF:
        context = ((_CONTEXT[0], _CONTEXT[1][:-1] + "0"),)
    call = Call("r", PATH, BODY, 4, trace=context)

    async def ask() -> None:
        async with aclosing(tracer.watched(_answer, call)) as frames:
            async for _ in frames:
                pass

    return Variant(ask, tracer.close)


class _Pool:
    """Answers at once."""

    async def serve(
        self, call: Call, home: str = "", avoid: frozenset[str] = frozenset()
    ) -> AsyncGenerator[Frame, None]:
        del home, avoid
        async with aclosing(_answer(call)) as frames:
            async for frame in frames:
                yield frame

    async def status(self, home: str = "", avoid: frozenset[str] = frozenset()) -> dict[str, Any]:
        del home, avoid
        return {"running": 0}


async def _answer(call: Call) -> AsyncGenerator[Frame, None]:
    steps = (min(call.k, 3),) * _FRAMES
    tokens = 1 + sum(1 + step for step in steps)
    ending = Ending("stop", 80, 0, tokens, steps, steps, True, 0.0, 0.02, 0.4)
    yield Frame(b"data: {}\n\n", (1,), 200, "text/event-stream", replica="one")
    for _ in range(_FRAMES - 2):
        yield Frame(b"data: {}\n\n", (1, 2, 3))
    yield Frame(b"data: [DONE]\n\n", (1,), ending=ending)


def _calls_us() -> float:
    """All calls of a request to the tracer that does nothing, in µs: the least of many tries."""
    tracer, many = NoTracer(), 2000
    request = read_request(PATH, {}, BODY)
    nothing: Any = None
    best = 1.0
    for _ in range(50):
        began = time.perf_counter()
        for _ in range(many):
            trace = tracer.begin(request)
            trace.classified("code", 1.0, hinted=False)
            trace.decided(nothing, "p@1")
            trace.admitted(waited=False)
            with trace.attempt(nothing, number=1, tokens=0) as attempt:
                attempt.answered(nothing)
            trace.finishing("completed")
            trace.end(nothing)
        best = min(best, (time.perf_counter() - began) / many)
    return best * 1e6


if __name__ == "__main__":
    sys.exit(main())
