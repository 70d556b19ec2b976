"""The HTTP surface over a service of fake pools."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from app_client import client_of, error_of
from fakes import CHAT, MESSAGES, FakePool, Harness, gone, last, more, opening, policy_text, request, whole

pytestmark = pytest.mark.unit

LIST = b'{"object":"list","data":[{"id":"m"}]}'
BODY = {"messages": MESSAGES}


@pytest.fixture
async def harness(tmp_path: Path) -> Harness:
    return await Harness(tmp_path).ready()


@pytest.fixture
async def client(harness: Harness) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(harness) as client:
        yield client


@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
async def test_a_completion(client: httpx.AsyncClient, harness: Harness, path: str) -> None:
    """The engine's bytes, under the headers of the contract."""
    response = await client.post(path, json=BODY)
    assert (response.status_code, response.content) == (200, b'{"id":"x"}')
    assert response.headers["content-type"] == "application/json"
    assert {name for name in response.headers if name.startswith("x-specroute")} == {
        "x-specroute-route",
        "x-specroute-k",
        "x-specroute-task",
        "x-specroute-profile",
        "x-specroute-reason",
        "x-specroute-policy",
    }
    assert "x-request-id" not in response.headers  # Ray Serve adds it
    assert harness.ngram.calls[0].path == path


async def test_a_stream(client: httpx.AsyncClient, harness: Harness) -> None:
    """Server-sent events, as they came."""
    harness.ngram.scripts = [[opening(), more(), last()]]
    response = await client.post(CHAT, json={**BODY, "stream": True})
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.content == b"data: one\n\ndata: two\n\ndata: [DONE]\n\n"
    assert harness.idle


async def test_the_engines_own_errors_pass(client: httpx.AsyncClient, harness: Harness) -> None:
    """Status and bytes of a refusal are the engine's."""
    harness.ngram.scripts = [[whole(b'{"error":{}}', 404)]]
    response = await client.post(CHAT, json=BODY)
    assert (response.status_code, response.content) == (404, b'{"error":{}}')


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 2000,
        b'{"metadata": {"task": "nonsense"}}',
    ],
)
async def test_malformed_bodies(client: httpx.AsyncClient, harness: Harness, body: bytes) -> None:
    """400, and no engine is asked."""
    assert error_of(await client.post(CHAT, content=body), 400)["type"] == "BadRequestError"
    assert not harness.ngram.calls


async def test_bodies_that_are_too_large(client: httpx.AsyncClient, harness: Harness) -> None:
    """413 names the limit; a body of just that size is taken."""
    assert "2048" in error_of(await client.post(CHAT, content=b"x" * 2049), 413)["message"]
    body = json.dumps(BODY).encode()
    assert (await client.post(CHAT, content=body.ljust(2048))).status_code == 200
    assert len(harness.ngram.calls) == 1


async def test_of_repeated_headers_the_last_one_holds(client: httpx.AsyncClient, harness: Harness) -> None:
    """A gateway that appends its own tenant overrules what the client put before it."""
    headers = [("X-Specroute-Tenant", "claimed"), ("X-Specroute-Tenant", "proven")]
    await client.post(CHAT, json=BODY, headers=headers)
    assert harness.outcomes[0].request.tenant == "proven"


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/embeddings", "/v1/models/x", "/admin/v1/nothing", "/v2"])
async def test_what_is_not_served(client: httpx.AsyncClient, path: str) -> None:
    """404 in OpenAI's form, for any method."""
    for method in ("GET", "POST", "DELETE"):
        assert error_of(await client.request(method, path), 404)["type"] == "NotFoundError"


async def test_wrong_methods(client: httpx.AsyncClient) -> None:
    """405 in OpenAI's form, with the methods that are allowed."""
    response = await client.get(CHAT)
    error_of(response, 405)
    assert response.headers["allow"] == "POST"
    error_of(await client.post("/v1/models"), 405)
    error_of(await client.delete("/admin/v1/policy"), 405)


async def test_limits_and_outages_say_when_to_come_back(tmp_path: Path) -> None:
    """429 and 503 carry Retry-After."""
    harness = await Harness(tmp_path, ngram=FakePool([gone()]), vanilla=FakePool([gone()])).ready()
    async with client_of(harness) as client:
        response = await client.post(CHAT, json=BODY)
        error_of(response, 503)
        assert int(response.headers["retry-after"]) >= 1
        response = await client.get("/v1/models")
        error_of(response, 503)
        assert int(response.headers["retry-after"]) >= 1
    harness = await Harness(tmp_path, limits={"max_concurrency": 1}).ready()
    held = await harness.service.respond(request())
    async with client_of(harness) as client:
        response = await client.post(CHAT, json=BODY)
        assert error_of(response, 429)["type"] == "RateLimitError"
        assert int(response.headers["retry-after"]) >= 1
    await held.body.aclose()


async def test_a_bug_is_a_clean_500(client: httpx.AsyncClient, harness: Harness) -> None:
    """Without a word about what happened inside, whether an engine or the router failed."""
    harness.ngram.scripts = [[KeyError("inside")]]
    assert "inside" not in error_of(await client.post(CHAT, json=BODY), 500)["message"]

    def broken(*_: object) -> None:
        raise KeyError("inside")

    harness.decider.decide = broken  # type: ignore[method-assign,assignment]
    assert "inside" not in error_of(await client.post(CHAT, json=BODY), 500)["message"]


async def test_models(client: httpx.AsyncClient, harness: Harness) -> None:
    """The engine's list."""
    harness.vanilla.scripts = [[whole(LIST)]]
    response = await client.get("/v1/models")
    assert response.json() == json.loads(LIST)


async def test_health_and_readiness(tmp_path: Path) -> None:
    """The process is healthy from the start, ready once a pool answers."""
    harness = Harness(tmp_path)
    async with client_of(harness) as client:
        assert (await client.get("/healthz")).status_code == 200
        response = await client.get("/readyz")
        assert response.status_code == 503
        assert response.headers["retry-after"]
        harness.vanilla.status_error = gone()
        await harness.pools.poll()
        response = await client.get("/readyz")
        assert response.status_code == 200
        assert response.json()["pools"] == {"vanilla": False, "ngram": True}


async def test_metrics(client: httpx.AsyncClient) -> None:
    """Prometheus's text format, with the metrics under their plain names."""
    response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    for name in ("specroute_requests_total", "specroute_store_up", "specroute_policy_info", "specroute_k"):
        assert f"# TYPE {name.removesuffix('_total')}" in response.text.replace("_total", "")


ADMIN = (
    "/admin/v1/alpha",
    "/admin/v1/decisions",
    "/admin/v1/replicas",
    "/admin/v1/policy",
    "/admin/v1/drift",
)


@pytest.mark.parametrize("path", ADMIN)
async def test_the_admin_api_is_closed_by_default(harness: Harness, path: str) -> None:
    """Without a token of the service nobody gets in, whatever token they bring."""
    async with client_of(harness, open_admin=False) as client:
        for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer x"}):
            error = error_of(await client.get(path, headers=headers), 403)
            assert "SPECROUTE_ADMIN_TOKEN" in error["message"]


@pytest.mark.parametrize("path", ADMIN)
async def test_the_admin_token(harness: Harness, path: str) -> None:
    """With a token of the service it is the only way in, on loopback too."""
    async with client_of(harness, token="sesame", open_admin=True) as client:
        assert (await client.get(path, headers={"Authorization": "Bearer sesame"})).status_code == 200
        for wrong in ("Bearer sesam", "Bearer sesame2", "Bearer", "Basic sesame", "Bearer SESAME", ""):
            error = error_of(await client.get(path, headers={"Authorization": wrong}), 401)
            assert error["type"] == "AuthenticationError"
        error_of(await client.get(path), 401)


async def test_a_token_of_any_bytes(harness: Harness) -> None:
    """A token outside ASCII compares byte by byte, as it does in the shell that set it."""
    async with client_of(harness, token="sésame\udcff") as client:
        right = b"Bearer " + "sésame".encode() + b"\xff"
        assert (await client.get(ADMIN[0], headers={"Authorization": right})).status_code == 200
        error_of(await client.get(ADMIN[0], headers={"Authorization": b"Bearer s\xe9same"}), 401)


async def test_the_open_admin_api(client: httpx.AsyncClient) -> None:
    """Open and without a token, everything of the contract is there."""
    await client.post(CHAT, json=BODY, headers={"X-Request-Id": "r1", "X-Specroute-Tenant": "acme"})
    entries = (await client.get("/admin/v1/alpha", params={"tenant": "acme"})).json()["entries"]
    assert {entry["tenant"] for entry in entries} == {"acme"}
    decisions = (await client.get("/admin/v1/decisions", params={"request_id": "r1"})).json()["decisions"]
    assert [entry["request_id"] for entry in decisions] == ["r1"]
    assert len((await client.get("/admin/v1/replicas")).json()["pools"]) == 2
    assert (await client.get("/admin/v1/policy")).json()["rejected"] is None


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "", "1.5", "9" * 5000])
async def test_limits_of_the_list_of_decisions(client: httpx.AsyncClient, limit: str) -> None:
    """A limit outside 1 to 1000 is refused by name."""
    assert error_of(await client.get("/admin/v1/decisions", params={"limit": limit}), 400)["param"] == "limit"


async def test_a_hint_may_name_a_custom_task_of_the_policy_in_force(tmp_path: Path) -> None:
    """A task of the operator's own is accepted, learned as such, and unknown once the policy drops it."""
    harness = await Harness(tmp_path, custom_tasks=[{"name": "poetry"}]).ready()
    headers = {"X-Specroute-Task": "poetry"}
    async with client_of(harness) as client:
        assert (await client.post(CHAT, json=BODY, headers=headers)).status_code == 200
        assert harness.outcomes[-1].task == "poetry"
        harness.policy_file.write_text(policy_text())
        assert harness.policies.reload()
        refused = await client.post(CHAT, json=BODY, headers=headers)
    assert refused.status_code == 400
    assert "unknown task 'poetry'" in refused.text
