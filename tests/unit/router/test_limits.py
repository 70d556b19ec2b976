"""What a request may ask for at most, and what of it reaches an engine."""

import json
from pathlib import Path
from typing import Any

import pytest
from app_client import client_of, error_of
from fakes import CHAT, MESSAGES, Harness
from hypothesis import given
from hypothesis import strategies as st

from replicas.asgi import AsgiExchange, Message
from replicas.isolation import salt_of
from router.errors import BadRequestError
from router.limits import check_limits, deeper_than
from router.settings import HttpSettings

pytestmark = pytest.mark.unit

LIMITS = HttpSettings()
BODY = {"messages": MESSAGES}
TEXT = "/v1/completions"


@pytest.fixture
async def harness(tmp_path: Path) -> Harness:
    return await Harness(tmp_path).ready()


def check(body: bytes) -> None:
    check_limits(body, json.loads(body), LIMITS)


def nested(levels: int, *, opening: str = "[", closing: str = "]") -> bytes:
    """An object in which something is nested, `levels` levels with the object itself."""
    return f'{{"a": {opening * (levels - 1)}{closing * (levels - 1)}}}'.encode()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_depth(encoding: str) -> None:
    """As many levels as allowed, and not one more, whatever the encoding; brackets in texts are none."""
    check(nested(64).decode().encode(encoding))
    with pytest.raises(BadRequestError, match="deeper than 64 levels"):
        check(nested(65).decode().encode(encoding))
    check(json.dumps({"prompt": "[{" * 5000}).encode(encoding))
    check(json.dumps({"prompt": [[1]] * 100}).encode(encoding))


def depth(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth, inner), default=0)


@given(
    st.recursive(
        st.integers(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    ),
    st.integers(0, 6),
)
def test_depth_is_measured_exactly(value: Any, limit: int) -> None:
    """As a recursive definition would have it."""
    assert deeper_than(limit, value) == (depth(value) > limit)


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "x", "n": 128},
        {"prompt": ["x"] * 128},
        {"prompt": ["x"] * 64, "n": 2},
        {"prompt": [1] * 4000, "n": 8},
        {"prompt": [[1, 2]] * 100},
        {"messages": MESSAGES, "n": True},
        {"messages": MESSAGES, "n": "many"},
        {"messages": MESSAGES, "n": -5},
        {"messages": MESSAGES, "n": None, "best_of": None},
        {"prompt": []},
        {"kv_transfer_params": None},
    ],
)
def test_what_may_be_asked_for(fields: dict[str, Any]) -> None:
    """Up to 128 answers at once; what is no number is left to the engine."""
    check(json.dumps(fields).encode())


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": MESSAGES, "n": 129},
        {"messages": MESSAGES, "n": 1e300},
        {"messages": MESSAGES, "n": 10**4000},
        {"messages": MESSAGES, "n": float("inf")},
        {"messages": MESSAGES, "n": "16384"},  # vLLM takes it for a number
        {"messages": MESSAGES, "n": " 1e9 "},
        {"prompt": "x", "best_of": 500},
        {"prompt": ["x"] * 129},
        {"prompt": ["x"] * 65, "n": 2},
        {"prompt": [[1, 2]] * 65, "n": 2},
        {"kv_transfer_params": {"do_remote_decode": True}},
        {"ec_transfer_params": {}},
    ],
)
async def test_what_may_not(harness: Harness, fields: dict[str, Any]) -> None:
    """Refused with the name of the field, before an engine hears of it."""
    async with client_of(harness) as client:
        content = json.dumps(fields).encode()
        if len(content) > 2048:  # more than this client may send
            with pytest.raises(BadRequestError):
                check(content)
            return
        error = error_of(await client.post(TEXT, content=content), 400)
    assert error["param"] in {"n", *fields}
    assert not harness.ngram.calls


async def test_bodies_that_are_too_deep(harness: Harness) -> None:
    """A 400 that names the limit, at any depth that fits."""
    async with client_of(harness) as client:
        for levels in (65, 500, 1000):
            error = error_of(await client.post(CHAT, content=nested(levels)), 400)
            assert "nested" in error["message"]
    assert not harness.ngram.calls


async def test_headers(harness: Harness) -> None:
    """Too many, too long, or a target that is: 431, on every path, before anything else."""
    async with client_of(harness) as client:
        for path in (CHAT, "/healthz", "/admin/v1/policy", "/nowhere"):
            many = [(f"x-{number}", "v") for number in range(101)]
            assert "100" in error_of(await client.post(path, json=BODY, headers=many), 431)["message"]
            long = {"x-long": "v" * 17000}
            assert "16384" in error_of(await client.post(path, json=BODY, headers=long), 431)["message"]
            error_of(await client.get(path, params={"q": "v" * 17000}), 431)
        assert (await client.post(CHAT, json=BODY, headers={"x-long": "v" * 12000})).status_code == 200


async def test_requests_of_a_tenant_carry_its_salt(harness: Harness) -> None:
    """Each tenant its own, those without a name one together; none where the operator shares the cache."""
    async with client_of(harness) as client:
        for tenant in ("acme", "beta", "acme", None):
            headers = {"X-Specroute-Tenant": tenant} if tenant else {}
            await client.post(CHAT, json={**BODY, "cache_salt": "theirs"}, headers=headers)
    salts = [call.cache_salt for call in harness.ngram.calls]
    assert salts == [salt_of(tenant) for tenant in ("acme", "beta", "acme", "anonymous")]
    async with client_of(harness, share_prefix_cache=True) as client:
        await client.post(CHAT, json=BODY)
    assert harness.ngram.calls[-1].cache_salt == ""


HOSTILE = {
    "X-Vllm-Priority": "-100",
    "X-data-parallel-rank": "1",
    "X-Session-ID": "other",
    "X-Request-Id": "r-1",
    "Connection": "keep-alive, X-Hop",
    "X-Hop": "1",
    "TE": "trailers",
    "Proxy-Authorization": "Basic x",
    "Authorization": "Bearer sk-secret",
    "Cookie": "a=b",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}


async def test_no_header_of_a_client_reaches_an_engine(harness: Harness) -> None:
    """An engine is called with path, body and what the router says; its app sees three headers, all ours."""
    async with client_of(harness) as client:
        assert (await client.post(CHAT, json=BODY, headers=HOSTILE)).status_code == 200
    (call,) = harness.ngram.calls
    for secret in ("sk-secret", "-100", "trailers", "0af7651916cd43dd8448eb211c80319c"):
        assert secret not in repr(call)
    assert json.loads(call.body) == BODY
    seen: list[Message] = []

    async def app(scope: Message, _receive: Any, send: Any) -> None:
        seen.append(scope)
        hop = [(b"connection", b"close"), (b"x-internal", b"1"), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": hop})
        await send({"type": "http.response.body", "body": b"{}"})

    exchange = AsgiExchange(app, path=call.path, body=call.body, request_id=call.request_id)
    assert [part.data async for part in exchange.parts()] == [b"{}"]
    await exchange.close()
    assert {name for name, _ in seen[0]["headers"]} == {b"content-type", b"content-length", b"x-request-id"}
    assert exchange.content_type == "application/json"


async def test_no_header_of_an_engine_reaches_a_client(harness: Harness) -> None:
    """A frame has a status and a content type, so that answers carry only the headers of the contract."""
    async with client_of(harness) as client:
        response = await client.post(CHAT, json=BODY)
    ours = {"content-type", "content-length"}
    assert {name for name in response.headers if not name.startswith("x-specroute-")} == ours
