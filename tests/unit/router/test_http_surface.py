"""Anything a client can send over HTTP gets an answer that is not a failure of ours."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from app_client import client_of
from fakes import MESSAGES, Harness, policy_text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.tenancy import Tenancy

pytestmark = pytest.mark.unit

TOKEN = "sesame"
EXAMPLES = 2500

PATHS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/models",
    "/v1/specroute/alpha",
    "/v1/specroute/preferences",
    "/healthz",
    "/readyz",
    "/metrics",
)
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "TRACE", "BREW")
HEADERS = (
    "accept",
    "authorization",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "if-match",
    "if-none-match",
    "origin",
    "range",
    "te",
    "traceparent",
    "transfer-encoding",
    "x-data-parallel-rank",
    "x-forwarded-for",
    "x-request-id",
    "x-specroute-author",
    "x-specroute-deadline",
    "x-specroute-details",
    "x-specroute-k",
    "x-specroute-note",
    "x-specroute-route",
    "x-specroute-task",
    "x-specroute-tenant",
    "x-vllm-priority",
)
VALUES = ("", "*", "0", "1", "-1", "1e309", "auto", "vanilla", "code", "acme", "chunked", '"x"', "NaN", "5s")
FIELDS = (
    *("messages", "prompt", "model", "stream", "stream_options", "n", "best_of", "max_tokens", "temperature"),
    *("min_p", "logit_bias", "metadata", "tools", "response_format", "structured_outputs", "stop", "seed"),
    *("vllm_xargs", "cache_salt", "priority", "request_id", "kv_transfer_params", "user", "echo", "suffix"),
    *("threshold", "mode", "tasks", "revision", "task", "enable_above", "role", "content", "type", "text"),
)
QUERIES = ("task", "tenant", "route", "profile", "reason", "policy", "result", "since", "request_id", "limit")

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(VALUES)
    | st.text(st.characters(codec=None), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=15,
)
CHATS = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=5).map(
    lambda fields: {"messages": MESSAGES, **fields}
)
POLICIES = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3).map(lambda spec: policy_text(**spec))
BODIES = (
    st.binary(max_size=200)
    | (CHATS | JSON).map(lambda value: json.dumps(value).encode())
    | POLICIES.map(str.encode)
    | st.integers(1, 1200).map(lambda depth: b'{"messages":' + b"[" * depth)
    | st.just(b" " * 3000)
)
TEXTS = st.sampled_from(VALUES).map(str.encode) | st.binary(max_size=40)
ALLOWED = st.just(f"Bearer {TOKEN}".encode())


class Surface:
    """The application over fake pools, called as a server calls it."""

    def __init__(self, folder: Path) -> None:
        self._runner = asyncio.Runner()
        harness = self._runner.run(Harness(folder).ready())
        tenancy = Tenancy(trusted_header=True, anonymous=True)
        self._app = client_of(harness, token=TOKEN, tenancy=tenancy)._transport.app  # type: ignore[attr-defined]
        served = [(method, route.path) for route in self._app.routes for method in route.methods]
        self.served = sorted(served)
        self.paths = sorted({path for _, path in served})
        assert set(PATHS) < set(self.paths)
        self.seen: Counter[int] = Counter()

    def ask(self, method: str, path: str, query: bytes, headers: Any, body: Sequence[bytes]) -> None:
        """One request; fails where the answer is one that a server must not give."""
        status, given_headers, answer = self._runner.run(self._answer(method, path, query, headers, body))
        self.seen[status] += 1
        told = (method, path, query, headers, body, status, answer[:500])
        # Policies and preferences cannot be put here: there is no store to put them into.
        stored = "/policy" in path or path.endswith("/preferences")
        assert status < 500 or (status == 503 and stored and b"retry-after" in given_headers), told
        if status >= 400 and method != "HEAD":
            error = json.loads(answer)["error"]
            assert error.keys() == {"message", "type", "param", "code"}, told
            assert error["message"], told
            assert "\n" not in error["message"] or "/policy" in path, told
        assert not any(b"\n" in value or b"\r" in value for value in given_headers.values()), told
        assert b"location" not in given_headers, told

    async def _answer(
        self, method: str, path: str, query: bytes, headers: Any, body: Sequence[bytes]
    ) -> tuple[int, Mapping[bytes, bytes], bytes]:
        parts = [*body[:-1], body[-1] if body else b""]
        messages = [
            {"type": "http.request", "body": part, "more_body": number + 1 < len(parts)}
            for number, part in enumerate(parts)
        ]
        sent: list[Any] = []

        async def receive() -> Any:
            if messages:
                return messages.pop(0)
            await asyncio.Event().wait()
            return None

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode("utf-8", "surrogatepass"),
            "root_path": "",
            "query_string": query,
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        await self._app(scope, receive, send)
        start = sent[0]
        return start["status"], dict(start["headers"]), b"".join(part.get("body", b"") for part in sent[1:])


@pytest.fixture(scope="module")
def surface(tmp_path_factory: pytest.TempPathFactory) -> Surface:
    return Surface(tmp_path_factory.mktemp("surface"))


def paths(known: Sequence[str]) -> st.SearchStrategy[str]:
    """Those there are, those nearly there, and any."""
    there = st.sampled_from(known)
    changes: list[Callable[[str], str]] = [
        str.upper,
        lambda path: path + "/",
        lambda path: "/" + path,
        lambda path: path + "/../healthz",
        lambda path: path.replace("v1", "v2"),
    ]
    nearly = st.tuples(there, st.sampled_from(changes)).map(lambda drawn: drawn[1](drawn[0]))
    return there | nearly | st.text(max_size=30).map(lambda text: "/" + text)


def test_no_input_is_a_server_error(
    surface: Surface, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """Methods, paths, queries, headers and bodies of all kinds: answered or refused in OpenAI's form."""

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(
        asked=st.sampled_from(surface.served) | st.tuples(st.sampled_from(METHODS), paths(surface.paths)),
        query=st.lists(st.tuples(st.sampled_from(QUERIES), TEXTS), max_size=3),
        headers=st.lists(st.tuples(st.sampled_from(HEADERS).map(str.encode), TEXTS), max_size=5),
        allowed=ALLOWED | st.none(),
        body=st.lists(BODIES, max_size=2) | BODIES.map(lambda one: [one]),
    )
    def run(asked: tuple[str, str], query: Any, headers: Any, allowed: bytes | None, body: Any) -> None:
        given_query = b"&".join(name.encode() + b"=" + value for name, value in query)
        own = [(b"host", b"127.0.0.1"), *([(b"authorization", allowed)] if allowed else [])]
        surface.ask(*asked, given_query, [*headers, *own], body)

    run()
    tried = sum(surface.seen.values())
    print(f"{tried} requests, 0 server errors: {dict(sorted(surface.seen.items()))}")
    record_testsuite_property("http_surface_inputs", tried)
    assert tried >= EXAMPLES
    assert {200, 400, 401, 404, 405} <= surface.seen.keys()
