"""Schemathesis over the whole OpenAPI document: whatever is sent, what comes back is what the document says."""

import asyncio
import datetime as dt
import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from http import HTTPMethod
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from services import Service, running
from starlette.types import ASGIApp

from replicas.fake import FakeEngine
from replicas.frames import Call, Frame
from router.ingress import Router
from router.openapi import document
from router.settings import DeploymentSettings, parse_settings

pytestmark = pytest.mark.integration

EXAMPLES = 30
"""Of each operation and kind: such as the document allows, and such as it does not."""
EXAMPLES_SERVED = 4
LIVE = "/admin/v1/live"
"""Its stream has no end to wait for, so its parameters are tried by hand below."""
VALUES = ("", "1h", "15m", "a" * 64, "a" * 65, "acme", "%00", "%ff", "%F0%9F%98%80", "'\"<b>", "&&==", "%")
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    allow_header_conformance,
]
ORIGIN = "http://127.0.0.1"
SCHEMA = schemathesis.openapi.from_dict(document()).exclude(path=LIVE)
OPERATIONS = [found.ok() for found in SCHEMA.get_all_operations()]
QUIET = settings(
    deadline=None,
    database=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)


class Pool:
    """One fake engine of this process."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine

    async def serve(
        self,
        call: Call,
        home: str = "",
        avoid: frozenset[str] = frozenset(),
    ) -> AsyncGenerator[Frame, None]:
        async for frame in self._engine.serve(call):
            yield frame

    async def status(
        self,
        home: str = "",
        avoid: frozenset[str] = frozenset(),
    ) -> dict[str, Any]:
        return {"running": 0, "replica": "fake"}


class Site:
    """A whole router in this process: its store is real, its engines are fake."""

    def __init__(self, deployment: DeploymentSettings) -> None:
        fake = deployment.fake_engines
        assert fake is not None
        self._runner = asyncio.Runner()
        pools = {p.name: Pool(FakeEngine(p, deployment.model, fake)) for p in deployment.profiles}
        self._router = self._runner.run(self._started(deployment, pools))
        self.app: ASGIApp = self._router.app()
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), timeout=300)
        self.seen: Counter[int] = Counter()

    async def _started(self, deployment: DeploymentSettings, pools: dict[str, Pool]) -> Router:
        router = Router(deployment, pools)
        await router.start()
        await router.parts.pools.poll()
        return router

    def close(self) -> None:
        """End it."""
        self._runner.run(self._router.close())
        self._runner.close()

    def answer(self, case: schemathesis.Case) -> httpx.Response:
        """What the router answers to a generated request."""
        request = asked(case, ORIGIN)
        response = self._runner.run(self._client.send(request))
        response.elapsed = dt.timedelta(0)
        self.seen[response.status_code] += 1
        return response

    def head(self, path: str, query: bytes) -> tuple[int, bytes]:
        """Status and first bytes of the answer to a GET, whose reader leaves then."""
        return self._runner.run(self._head(path, query))

    async def _head(self, path: str, query: bytes) -> tuple[int, bytes]:
        sent: asyncio.Queue[Any] = asyncio.Queue()
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": HTTPMethod.GET,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query,
            "headers": [(b"host", b"127.0.0.1")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        gone = asyncio.Event()

        async def receive() -> Any:
            await gone.wait()
            return {"type": "http.disconnect"}

        answering = asyncio.create_task(self.app(scope, receive, sent.put))  # type: ignore[arg-type]
        try:
            start, first = await sent.get(), await sent.get()
        finally:
            gone.set()
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
        self.seen[start["status"]] += 1
        return start["status"], first.get("body", b"")


def asked(case: schemathesis.Case, origin: str) -> httpx.Request:
    """The request that a case stands for."""
    known = ("method", "url", "headers", "params", "cookies", "json", "data", "files")
    given_case = case.as_transport_kwargs(base_url=origin)
    wanted = requests.Request(**{name: given_case[name] for name in known if name in given_case}).prepare()
    body: Any = wanted.body.encode() if isinstance(wanted.body, str) else wanted.body
    headers = [(_bytes(name), _bytes(value)) for name, value in wanted.headers.items()]
    return httpx.Request(str(wanted.method), str(wanted.url), headers=headers, content=body)


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")


def check(case: schemathesis.Case, response: httpx.Response) -> None:
    """No failure of ours, and everything as described."""
    shorter = any(name.lower() == "x-specroute-deadline" for name in case.headers or {})
    allowed = {504} if shorter else set()
    assert response.status_code < 500 or response.status_code in allowed, response.text
    case.validate_response(response, checks=CHECKS)


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, record_testsuite_property: Callable[[str, object], None]
) -> Iterator[Site]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECROUTE_DATA_DIR", str(tmp_path_factory.mktemp("site")))
        patch.delenv("SPECROUTE_ADMIN_TOKEN", raising=False)
        patch.delenv("SPECROUTE_METRICS_TOKEN", raising=False)
        found = Site(
            parse_settings(
                {
                    "fake_engines": {"step_ms": 0, "prefill_ms": 0},
                    "tenancy": {"trusted_header": True},
                    "http": {"open_admin": True},
                    "store": {"timeout_ms": 60_000},
                }
            )
        )
        try:
            yield found
        finally:
            found.close()
    tried = sum(found.seen.values())
    print(f"\n{tried} requests to {len(OPERATIONS) + 1} operations: {dict(sorted(found.seen.items()))}")
    record_testsuite_property("openapi_inputs", tried)


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_an_operation_keeps_to_the_document(site: Site, operation: Any, mode: GenerationMode) -> None:
    """Statuses, content types, headers and bodies of all answers are described, and none is our failure."""

    @settings(QUIET, max_examples=EXAMPLES)
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case: schemathesis.Case) -> None:
        check(case, site.answer(case))

    try:
        run()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE
        pytest.skip("nothing of it can be wrong")


@pytest.mark.parametrize("parameter", ["tenant", "task", "search", "window", "limit", ""])
def test_the_live_stream_begins_or_says_why_not(site: Site, parameter: str) -> None:
    """With its state, and a reader that leaves then leaves nothing behind; or with an error of the request."""
    state = Draft202012Validator({**document(), "$ref": "#/components/schemas/LiveState"})
    for value in VALUES:
        status, begin = site.head(LIVE, f"{parameter}={value}".encode())
        assert status in {200, 400}, (value, begin)
        if status == 200:
            name, data = begin.decode().strip().split("\n")
            assert name == "event: state"
            state.validate(json.loads(data.removeprefix("data: ")))
        else:
            assert json.loads(begin)["error"]["message"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("service"), store={"timeout_ms": 60_000}) as service:
        yield service


def test_a_service_keeps_to_the_document(
    served: Service, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """Behind Ray Serve and its proxy as well; what they serve as the document is the document."""
    seen: Counter[int] = Counter()
    with httpx.Client(timeout=300) as client:
        assert client.get(f"{served.url}/openapi.json").json() == document()
        for operation in OPERATIONS:

            @settings(QUIET, max_examples=EXAMPLES_SERVED)
            @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
            def run(case: schemathesis.Case) -> None:
                response = client.send(asked(case, served.url))
                seen[response.status_code] += 1
                check(case, response)

            run()
    tried = sum(seen.values())
    print(f"\n{tried} requests to a service: {dict(sorted(seen.items()))}")
    record_testsuite_property("openapi_inputs_served", tried)
