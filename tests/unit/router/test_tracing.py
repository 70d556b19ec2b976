"""One trace per request: its spans, whose they are, what is in them, and what is not."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from app_client import client_of
from fakes import CHAT, NGRAM, VANILLA, FakePool, Harness, gone, last, opening, request, settled, whole
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace.sampling import DEFAULT_OFF
from opentelemetry.trace import SpanKind, StatusCode
from spans import MODEL, PARENT, TRACE, EnginePool, Recorded, attributes

import replicas.tracing_otel
import router.server_span
import router.trace_attributes
import router.tracing_otel
from replicas.profiles import Profile
from router.errors import ApiError
from router.tracing import NO_TRACE, NoTracer

pytestmark = pytest.mark.unit

DOCUMENT = (Path(__file__).parents[3] / "docs" / "tracing.md").read_text(encoding="utf-8")
SERVER = f"POST {CHAT}"
CALL = f"chat {MODEL}"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
SECRET = "Zanzibar"
MODULES = (router.tracing_otel, router.server_span, router.trace_attributes, replicas.tracing_otel)


async def harness_of(folder: Path, recorded: Recorded | None = None, **changes: Any) -> Harness:
    """A traced service over replicas that are traced, too."""
    recorded = recorded or Recorded()
    changes.setdefault("ngram", EnginePool(NGRAM, recorded.replica("ngram")))
    changes.setdefault("vanilla", EnginePool(VANILLA, recorded.replica("vanilla")))
    harness = await Harness(folder, tracer=recorded.router, **changes).ready()
    harness.recorded = recorded  # type: ignore[attr-defined]
    return harness


def traced_client(harness: Harness, recorded: Recorded) -> httpx.AsyncClient:
    """A client of the HTTP surface as a router serves it."""
    client = client_of(harness)
    transport = client._transport
    assert isinstance(transport, httpx.ASGITransport)
    transport.app = recorded.router.wrapped(transport.app)
    return client


@pytest.mark.parametrize("stream", [True, False])
async def test_a_request_is_one_trace_across_router_and_replica(stream: bool, tmp_path: Path) -> None:
    """The phases are children of the request, the replica's span is the call's, decoding is the replica's."""
    recorded = Recorded()
    harness = await harness_of(tmp_path, recorded)
    await harness.answer(request(stream=stream))
    assert recorded.tree() == {
        SERVER: {
            "specroute.classify": {},
            "specroute.decide": {},
            "specroute.queue": {},
            CALL: {"specroute.generate": {"specroute.decode": {}}},
            "specroute.record": {},
        }
    }
    kinds = {span.name: span.kind for span in recorded.spans}
    assert kinds[SERVER] is kinds["specroute.generate"] is SpanKind.SERVER
    assert kinds[CALL] is SpanKind.CLIENT
    assert all(span.status.status_code is StatusCode.UNSET for span in recorded.spans)
    assert [event.name for event in recorded.one("specroute.generate").events] == ["specroute.first_token"]


async def test_phases_follow_each_other(tmp_path: Path) -> None:
    """None begins before the one before has ended, and all are within the request."""
    recorded = Recorded()
    harness = await harness_of(tmp_path, recorded)
    await harness.answer(request(stream=True))
    server = recorded.one(SERVER)
    phases = [
        span for span in recorded.spans if span.parent and span.parent.span_id == server.context.span_id
    ]
    times = [moment for span in phases for moment in (span.start_time, span.end_time)]
    assert times == sorted(times)
    assert server.start_time <= times[0]
    assert times[-1] <= server.end_time


async def test_the_spans_say_what_was_decided_and_what_came_of_it(tmp_path: Path) -> None:
    """As the response's headers and the decision log do."""
    recorded = Recorded()
    harness = await harness_of(tmp_path, recorded)
    await harness.answer(request({"x-request-id": "r-7"}, stream=True, max_tokens=20))
    outcome = harness.outcomes[0]
    decide, server = attributes(recorded.one("specroute.decide")), attributes(recorded.one(SERVER))
    decision = outcome.decision
    assert decide["specroute.reason"] == decision.reason.value == server["specroute.reason"]
    assert (decide["specroute.profile"], decide["specroute.k"]) == (decision.profile, decision.k)
    assert decide["specroute.propensity"] == decision.propensity
    assert set(decide["specroute.arms"]) == {f"{one.profile}/{one.k}" for one in decision.scores}
    assert list(decide["specroute.arms.cost_s"]) == sorted(one.cost_s for one in decision.scores)
    assert server["specroute.request_id"] == "r-7"
    assert server["specroute.result"] == "completed"
    assert server["http.response.status_code"] == 200
    assert server["gen_ai.usage.output_tokens"] == 20 == server["gen_ai.request.max_tokens"]
    decode = attributes(recorded.one("specroute.decode"))
    assert outcome.ending is not None
    assert decode["specroute.accepted"] == sum(outcome.ending.per_step_accepted)
    assert outcome.trace_id == f"{recorded.spans[0].context.trace_id:032x}"


async def test_a_clients_context_goes_in_and_on_to_the_replica(tmp_path: Path) -> None:
    """W3C's three headers; what is done for the replica is a child of our call, not of the client's span."""
    recorded = Recorded()
    harness = await harness_of(tmp_path, recorded)
    async with traced_client(harness, recorded) as client:
        headers = {"traceparent": TRACEPARENT, "tracestate": "a=1,b=2", "baggage": "tier=gold"}
        body = {"messages": [{"role": "user", "content": "hello"}]}
        response = await client.post(CHAT, headers=headers, json=body)
    assert response.status_code == 200
    server = recorded.one(SERVER)
    assert f"{server.context.trace_id:032x}" == TRACE == harness.outcomes[0].trace_id
    assert server.parent is not None
    assert f"{server.parent.span_id:016x}" == PARENT
    sent = dict(harness.ngram.calls[0].trace)
    assert sent["traceparent"] == f"00-{TRACE}-{recorded.one(CALL).context.span_id:016x}-01"
    assert (sent["tracestate"], sent["baggage"]) == ("a=1,b=2", "tier=gold")
    assert attributes(server)["url.scheme"] == "http"


@pytest.mark.parametrize("sampler", [None, DEFAULT_OFF])
async def test_what_is_not_sampled_leaves_no_span_but_goes_on(sampler: Any, tmp_path: Path) -> None:
    """The replica hears that it is not, and the log has its id."""
    recorded = Recorded(sampler)
    harness = await harness_of(tmp_path, recorded)
    async with traced_client(harness, recorded) as client:
        headers = {"traceparent": TRACEPARENT[:-1] + "0"}
        await client.post(CHAT, headers=headers, json={"messages": [{"role": "user", "content": "hello"}]})
    assert not recorded.spans
    assert harness.outcomes[0].trace_id == TRACE
    assert dict(harness.ngram.calls[0].trace)["traceparent"].startswith(f"00-{TRACE}-")
    assert dict(harness.ngram.calls[0].trace)["traceparent"].endswith("-00")


@pytest.mark.parametrize(
    "given", ["", "00-xyz-1-01", f"{TRACEPARENT},{TRACEPARENT}", "00-" + "0" * 32 + f"-{PARENT}-01"]
)
async def test_a_broken_context_begins_a_new_trace(given: str, tmp_path: Path) -> None:
    """Whatever a client sends, its request is answered and traced."""
    recorded = Recorded()
    harness = await harness_of(tmp_path, recorded)
    async with traced_client(harness, recorded) as client:
        body = {"messages": [{"role": "user", "content": "hello"}]}
        assert (await client.post(CHAT, headers={"traceparent": given}, json=body)).status_code == 200
    assert recorded.one(SERVER).parent is None


async def test_a_failover_is_two_calls_beside_each_other(tmp_path: Path) -> None:
    """The one that failed says so, the request has an event, and what was decided anew is there."""
    recorded = Recorded()
    harness = await harness_of(tmp_path, recorded, ngram=FakePool([gone()]))
    await harness.answer(request(stream=True))
    assert list(recorded.tree()[SERVER]) == [
        "specroute.classify",
        "specroute.decide",
        "specroute.queue",
        CALL,
        "specroute.decide #2",
        f"{CALL} #2",
        "specroute.record",
    ]
    first, second = recorded.named(CALL)
    assert first.status.status_code is StatusCode.ERROR
    assert attributes(first)["error.type"] == "ReplicaError"
    assert second.status.status_code is StatusCode.UNSET
    assert [attributes(span)["specroute.attempt"] for span in (first, second)] == [1, 2]
    assert recorded.one("specroute.generate").parent.span_id == second.context.span_id
    server = recorded.one(SERVER)
    assert [event.name for event in server.events] == ["specroute.failover"]
    assert server.status.status_code is StatusCode.UNSET
    assert attributes(server)["specroute.failovers"] == 1
    assert attributes(recorded.named("specroute.decide")[1])["specroute.reason"] == "failover"


async def test_a_request_that_waits_is_decided_anew(tmp_path: Path) -> None:
    """Its time in line is a span of its own."""
    recorded = Recorded()
    one = [
        Profile(name="vanilla", max_num_seqs=1),
        Profile(name="ngram", method="ngram", k=8, max_num_seqs=1),
    ]
    held = asyncio.Event()
    pool = FakePool([opening(), held, last()])
    harness = await harness_of(
        tmp_path, recorded, ngram=pool, vanilla=FakePool([opening(), held, last()]), profiles=one
    )
    tasks = [asyncio.create_task(harness.answer(request(stream=True))) for _ in range(3)]
    assert await settled(lambda: harness.admission.waiting == 1)
    held.set()
    await asyncio.gather(*tasks)
    waited = [
        span for span in recorded.named("specroute.queue") if attributes(span)["specroute.queue.waited"]
    ]
    assert len(waited) == 1
    decided = [
        span
        for span in recorded.named("specroute.decide")
        if span.context.trace_id == waited[0].context.trace_id
    ]
    assert len(decided) == 2


async def test_a_refusal_fails_the_queue_but_not_the_service(tmp_path: Path) -> None:
    """A 429 is the client's matter: the request's own span is no error."""
    recorded = Recorded()
    harness = await harness_of(
        tmp_path, recorded, limits={"max_concurrency": 1}, ngram=FakePool([opening(), asyncio.Event()])
    )
    task = asyncio.create_task(harness.answer(request(stream=True)))
    assert await settled(lambda: harness.admission.running == 1)
    refused = await harness.answer_fails(request(stream=True))
    assert refused.http_status == 429
    assert attributes(recorded.named("specroute.queue")[-1])["error.type"] == "refused"
    server = recorded.one(SERVER)
    assert attributes(server)["http.response.status_code"] == 429
    assert server.status.status_code is StatusCode.UNSET
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [attributes(span)["specroute.result"] for span in recorded.named(SERVER)] == [
        "refused",
        "cancelled",
    ] or [attributes(span)["specroute.result"] for span in recorded.named(SERVER)] == ["cancelled", "refused"]


async def test_what_fails_in_the_middle_is_an_error(tmp_path: Path) -> None:
    """Though its status was 200."""
    recorded = Recorded()
    harness = await harness_of(tmp_path, recorded, ngram=FakePool([opening(), KeyError(SECRET)]))
    await harness.answer(request(stream=True))
    server = recorded.one(SERVER)
    assert attributes(server)["http.response.status_code"] == 200
    assert (server.status.status_code, attributes(server)["error.type"]) == (StatusCode.ERROR, "failed")
    assert attributes(recorded.one(CALL))["error.type"] == "KeyError"


async def test_requests_that_are_not_routed_are_traced_too(tmp_path: Path) -> None:
    """A bad request has the request's span only, so has one for which there is no pool; others have none."""
    recorded = Recorded()
    harness = await harness_of(tmp_path, recorded)
    async with traced_client(harness, recorded) as client:
        assert (await client.post(CHAT, content=b"{")).status_code == 400
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get(CHAT)).status_code == 405
        for state in harness.pools:
            state.lose("gone")
        body = {"messages": [{"role": "user", "content": "hello"}]}
        assert (await client.post(CHAT, json=body)).status_code == 503
    bad, unserved = recorded.named(SERVER)
    assert attributes(bad)["http.response.status_code"] == 400
    assert bad.status.status_code is StatusCode.UNSET
    assert attributes(unserved)["http.response.status_code"] == 503
    assert unserved.status.status_code is StatusCode.ERROR
    assert {span.name for span in recorded.spans} == {SERVER, "specroute.classify"}


async def test_nothing_of_prompts_answers_or_errors_is_in_spans(tmp_path: Path) -> None:
    """Whatever becomes of the request."""
    recorded = Recorded()
    messages = [{"role": "user", "content": f"Tell me of {SECRET}."}]
    scripts = [
        [gone()],
        [opening(f"data: {SECRET}\n\n".encode()), ValueError(SECRET)],
        [whole(SECRET.encode(), 400)],
    ]
    for number, script in enumerate(scripts):
        folder = tmp_path / str(number)
        folder.mkdir()
        harness = await harness_of(folder, recorded, ngram=FakePool(script))
        try:
            await harness.answer(request(stream=True, messages=messages, user=SECRET, model=SECRET))
        except ApiError:
            continue
    assert len(recorded.named(SERVER)) == len(scripts)
    assert SECRET not in recorded.text()


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "max_tokens": st.one_of(st.integers(), st.none(), st.booleans(), st.text(max_size=3)),
            "max_completion_tokens": st.integers(min_value=-(2**70), max_value=2**70),
            "temperature": st.one_of(st.integers(), st.floats(), st.just(10**400), st.text(max_size=3)),
            "stream": st.booleans(),
            "model": st.text(st.characters(), max_size=9),
        },
    )
)
def test_whatever_a_client_sends_can_be_exported(fields: dict[str, Any]) -> None:
    """One span that cannot be encoded would cost the whole batch."""
    recorded = Recorded()
    given_request = request(**{name: value for name, value in fields.items() if value == value})  # noqa: PLR0124 - NaN
    trace = recorded.router.begin(given_request)
    trace.classified("code", 1.0, hinted=True)
    span = recorded.router.begin(given_request)
    assert span.trace_id != trace.trace_id
    trace.span.end(200)  # type: ignore[attr-defined]
    assert encode_spans(recorded.spans).SerializeToString()


@pytest.mark.parametrize("broken", ["extracted", "injected", "tracer"])
async def test_tracing_that_breaks_costs_no_request(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is answered and recorded; the log says that it could not be traced."""
    recorded = Recorded()
    harness = await harness_of(tmp_path, recorded, ngram=FakePool([opening(), last()]))
    monkeypatch.setattr(recorded.tracing, broken, None)
    async with traced_client(harness, recorded) as client:
        body = {"messages": [{"role": "user", "content": "hello"}], "stream": True}
        response = await client.post(CHAT, json=body)
    assert (response.status_code, response.content) == (200, b"data: one\n\ndata: [DONE]\n\n")
    assert [outcome.result for outcome in harness.outcomes] == ["completed"]
    assert "could not be traced" in caplog.text


async def test_without_a_tracer_nothing_is_said(tmp_path: Path) -> None:
    """No trace id, no headers for the replica, the application as it was."""
    harness = await Harness(tmp_path, ngram=FakePool([opening(), last()])).ready()
    await harness.answer(request({"traceparent": TRACEPARENT}, stream=True))
    assert harness.outcomes[0].trace_id is None
    assert harness.ngram.calls[0].trace == ()

    async def app(*_: Any) -> None:
        """Never called."""

    assert NoTracer().wrapped(app) is app
    assert NoTracer().begin(request()) is NO_TRACE


@pytest.mark.parametrize(
    ("ours", "kept_out"),
    [("router.api, router.service", ("opentelemetry.sdk",)), ("router.ingress, replicas.deployment", ())],
)
def test_while_it_is_off_nothing_of_it_is_imported(ours: str, kept_out: tuple[str, ...]) -> None:
    """Neither by the router nor by a replica; Ray Serve itself imports some of the SDK, but no exporter."""
    kept_out = (*kept_out, "opentelemetry.exporter", "router.tracing_otel", "replicas.tracing_otel")
    program = (
        f"import sys, {ours}\n"
        "from router.tracing import opened_tracer\n"
        "from replicas.tracing import opened_replica_tracer\n"
        "opened_tracer('m'), opened_replica_tracer('p', 'r')\n"
        f"print([name for name in sys.modules if name.startswith({kept_out})])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_every_span_event_and_attribute_is_documented() -> None:
    """And nothing is that does not exist."""
    kinds = "specroute|http|gen_ai|url|network|error"
    used = {
        name
        for module in MODULES
        for name in re.findall(
            rf'"((?:{kinds})\.[a-z_.]+)"', Path(module.__file__).read_text(encoding="utf-8")
        )
    }
    assert used - {"http.response.start"} == set(
        re.findall(rf"^\| `((?:{kinds})\.[a-z_.]+)`", DOCUMENT, flags=re.MULTILINE)
    )
