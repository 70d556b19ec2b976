"""What a tenant sees and sets with its own key, through the whole HTTP surface."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from app_client import client_of, error_of
from fakes import CHAT, MESSAGES, Harness
from hypothesis import given
from hypothesis import strategies as st

from router.key_file import KeyFile
from router.keys import file_line
from router.preference_store import FakePreferenceStore
from router.tenancy import Tenancy

pytestmark = pytest.mark.unit

ALPHA, PREFERENCES = "/v1/specroute/alpha", "/v1/specroute/preferences"
TENANTS = ("acme", "beta", "plain", "stranger")
POLICY: Mapping[str, Any] = {
    "mode": "threshold",
    "allow_overrides": True,
    "threshold": {"enable_above": 0.6, "disable_below": 0.5},
    "segments": {"premium": {"self_service": {"threshold": {"min": 0.4, "max": 0.8}, "modes": ["adaptive"]}}},
    "tenants": {
        "acme": {"segment": "premium"},
        "beta": {
            "self_service": {"threshold": {"min": 0.2, "max": 0.3}},
            "threshold": {"enable_above": 0.25, "disable_below": 0.2},
        },
        "plain": {},
    },
}


def auth(tenant: str) -> dict[str, str]:
    return {"Authorization": f"Bearer sk-{tenant}"}


@pytest.fixture
async def harness(tmp_path: Path) -> Harness:
    harness = await Harness(tmp_path, **POLICY).ready()
    harness.preferences.attach(FakePreferenceStore())
    return harness


@pytest.fixture
async def client(harness: Harness, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    file = tmp_path / "keys.yaml"
    file.write_text("\n".join(file_line(f"sk-{tenant}", tenant) for tenant in TENANTS))
    tenancy = Tenancy(KeyFile(file), anonymous=True)
    async with client_of(harness, token="sesame", tenancy=tenancy) as client:
        yield client


async def ask(client: httpx.AsyncClient, tenant: str, task: str = "code") -> None:
    """One completion of a tenant."""
    headers = {**auth(tenant), "X-Specroute-Task": task, "X-Specroute-Route": "speculative"}
    response = await client.post(CHAT, json={"messages": MESSAGES}, headers=headers)
    assert response.status_code == 200


async def put(client: httpx.AsyncClient, tenant: str, body: Any, **headers: str) -> httpx.Response:
    # With escapes, so that surrogates can be sent.
    return await client.put(PREFERENCES, content=json.dumps(body), headers={**auth(tenant), **headers})


async def test_a_tenant_sees_its_own_rows(client: httpx.AsyncClient, harness: Harness) -> None:
    """In the shape of the admin API's, without the totals of its tasks; nobody else's, whatever it asks for."""
    for tenant in TENANTS[:2]:
        await ask(client, tenant)
    await ask(client, "beta", "sql")
    everything = (await client.get("/admin/v1/alpha", headers={"Authorization": "Bearer sesame"})).json()
    for tenant, tasks in (("acme", {"code"}), ("beta", {"code", "sql"}), ("plain", set())):
        answer = (await client.get(ALPHA, headers=auth(tenant))).json()
        assert answer["entries"] == [entry for entry in everything["entries"] if entry["tenant"] == tenant]
        assert {entry["task"] for entry in answer["entries"]} == tasks
        assert answer["tenant"] == tenant
    one = (await client.get(ALPHA, params={"task": "sql"}, headers=auth("beta"))).json()
    assert {entry["task"] for entry in one["entries"]} == {"sql"}


@pytest.mark.parametrize("path", [ALPHA, PREFERENCES])
async def test_nobody_names_another_tenant(client: httpx.AsyncClient, path: str) -> None:
    """Neither by header nor by query; without a key in force there is no tenant at all."""
    for headers in ({"X-Specroute-Tenant": "beta"}, {"x-specroute-tenant": "beta, acme"}):
        error_of(await client.get(path, headers={**auth("acme"), **headers}), 403)
    assert (await client.get(path, headers={**auth("acme"), "X-Specroute-Tenant": "acme"})).status_code == 200
    for query in ("tenant=beta", "tenant=acme&tenant=beta", "tenant="):
        response = await client.get(f"{path}?{query}", headers=auth("acme"))
        assert path == PREFERENCES or error_of(response, 403)["param"] == "tenant"
        assert "beta" not in response.text
    assert (await client.get(f"{ALPHA}?tenant=acme", headers=auth("acme"))).status_code == 200
    response = await client.get(path, headers={"Authorization": "Bearer sk-hunter2"})
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "invalid_api_key"
    assert response.headers["www-authenticate"] == "Bearer"
    assert "hunter2" not in response.text


async def test_keys_guard_completions_and_models(client: httpx.AsyncClient, harness: Harness) -> None:
    """An unknown key reaches no engine, before the body is read; health and readiness need none."""
    wrong = {"Authorization": "Bearer nobody"}
    for response in (
        await client.post(CHAT, content=b"x" * 5000, headers=wrong),
        await client.get("/v1/models", headers=wrong),
    ):
        assert response.status_code == 401
        assert response.json()["error"]["code"] == "invalid_api_key"
    assert not harness.ngram.calls
    assert not harness.vanilla.calls
    for path in ("/healthz", "/readyz", "/metrics"):
        assert (await client.get(path)).status_code == 200


async def test_what_holds_for_a_tenant(client: httpx.AsyncClient) -> None:
    """Its band and mode for every task, what it set itself, and within which bounds it may."""
    answer = (await client.get(ALPHA, headers=auth("acme"))).json()
    assert answer["effective"]["code"] == {
        "mode": "threshold",
        "threshold": {"metric": "alpha", "enable_above": 0.6, "disable_below": 0.5},
    }
    assert answer["self_service"] == {"threshold": {"min": 0.4, "max": 0.8}, "modes": ["adaptive"]}
    assert answer["preferences"] == {}
    answer = (await client.get(ALPHA, headers=auth("plain"))).json()
    assert answer["self_service"] is None


async def test_a_tenant_sets_its_own(client: httpx.AsyncClient, harness: Harness) -> None:
    """Within its bounds it is in force for its own requests, and for nobody else's."""
    wanted = {"threshold": {"enable_above": 0.8}, "tasks": {"chat": {"mode": "adaptive"}}}
    response = await put(client, "acme", wanted)
    assert (response.status_code, response.json()) == (200, wanted)
    for tenant, enable_above in (("acme", 0.8), ("beta", 0.25), ("plain", 0.6), ("stranger", 0.6)):
        assert harness.policies.resolve(tenant=tenant, task="code").threshold.enable_above == enable_above
    assert harness.policies.resolve(tenant="acme", task="chat").mode == "adaptive"
    shown = (await client.get(ALPHA, headers=auth("acme"))).json()
    assert shown["preferences"] == wanted
    assert shown["effective"]["code"]["threshold"]["enable_above"] == 0.8
    assert (await client.get(PREFERENCES, headers=auth("acme"))).json() == wanted
    assert (await client.get(PREFERENCES, headers=auth("beta"))).json() == {}
    response = await client.delete(PREFERENCES, headers=auth("acme"))
    assert (response.status_code, response.json()) == (200, {})
    assert harness.policies.resolve(tenant="acme", task="code").threshold.enable_above == 0.6


async def test_all_problems_at_once(client: httpx.AsyncClient, harness: Harness) -> None:
    """422 names each with its place and what is allowed; nothing is set."""
    body = {
        "threshold": {"enable_above": 0.95, "disable_below": 0.1},
        "mode": "threshold",
        "tasks": {"cod": {"threshold": {"enable_above": 0.85}}},
    }
    response = await put(client, "acme", body)
    assert response.status_code == 422
    assert [problem["path"] for problem in response.json()["problems"]] == [
        "threshold.enable_above",
        "threshold.disable_below",
        "mode",
        "tasks.cod",
        "tasks.cod.threshold.enable_above",
    ]
    error = response.json()["error"]
    assert error["param"] == "threshold.enable_above"
    for said in ("between 0.4 and 0.8", "allowed: adaptive", "did you mean 'code'"):
        assert said in error["message"]
    assert "\n" not in error["message"]
    assert harness.preferences.get("acme") is None


@pytest.mark.parametrize(
    "body",
    [
        {"threshold": {"enable_above": 0.45}},  # below the policy's disable_below
        {"threshold": {"enable_above": 0.5, "disable_below": 0.6}},
        {"thresholds": {}},
        {"threshold": {"enable_above": "0.7"}},
        {"threshold": {"enable_above": True}},
        {"threshold": None, "mode": 3},
        {"mode": "always_speculative"},
        {"k": {"max": 3}},
        {"tasks": []},
        {"tasks": {"\ud800": {}}},
        {"\ud800": 1},
        {"tasks": {"x" * 5000: {"mode": "x" * 5000}}},
    ],
)
async def test_what_cannot_be_set(client: httpx.AsyncClient, body: Any) -> None:
    """422 in OpenAI's form."""
    response = await put(client, "acme", body)
    assert response.status_code == 422
    assert response.json()["error"]["code"] == 422
    assert response.json()["problems"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 10_000, b'{"threshold": ' * 2000]
)
async def test_bodies_that_are_none(client: httpx.AsyncClient, body: bytes) -> None:
    """400 in OpenAI's form; 413 for what is too large."""
    response = await client.put(PREFERENCES, content=body, headers=auth("acme"))
    error_of(response, 400 if len(body) <= 16 * 2**10 else 413)


async def test_a_band_that_is_no_number(client: httpx.AsyncClient) -> None:
    """JSON's extensions to NaN and beyond are no thresholds."""
    for value in (b"NaN", b"Infinity", b"1e999"):
        body = b'{"threshold": {"enable_above": ' + value + b"}}"
        response = await client.put(PREFERENCES, content=body, headers=auth("acme"))
        assert response.status_code == 422


async def test_who_may_set_nothing(client: httpx.AsyncClient, harness: Harness) -> None:
    """Without self_service it is the operator's, a tenant the policy does not name included; anonymous is nobody."""
    for tenant in ("plain", "stranger"):
        for body in ({"mode": "adaptive"}, {}):
            assert "self_service" in error_of(await put(client, tenant, body), 403)["message"]
    for method in ("PUT", "DELETE"):
        error_of(await client.request(method, PREFERENCES, json={}), 403)
    assert (await client.get(PREFERENCES)).json() == {}
    assert harness.preferences.state() == {}


async def test_concurrent_edits(client: httpx.AsyncClient) -> None:
    """The entity tag of what was read lets one of two writers win, and tells the other."""
    tag = (await client.get(PREFERENCES, headers=auth("acme"))).headers["etag"]
    first = await put(client, "acme", {"mode": "adaptive"}, **{"If-Match": tag})
    assert first.status_code == 200
    assert first.headers["etag"] != tag
    second = await put(client, "acme", {"threshold": {"enable_above": 0.7}}, **{"If-Match": tag})
    assert error_of(second, 412)["param"] == "If-Match"
    error_of(await client.delete(PREFERENCES, headers={**auth("acme"), "If-Match": tag}), 412)
    now = (await client.get(PREFERENCES, headers=auth("acme"))).headers["etag"]
    assert now == first.headers["etag"]
    assert (await client.delete(PREFERENCES, headers={**auth("acme"), "If-Match": now})).status_code == 200


async def test_while_the_store_is_away(harness: Harness, client: httpx.AsyncClient) -> None:
    """Nothing can be set (503, with what to do); what was set stays in force and is shown."""
    assert (await put(client, "acme", {"mode": "adaptive"})).status_code == 200
    store = harness.preferences._store
    assert isinstance(store, FakePreferenceStore)
    store.down = True
    response = await put(client, "acme", {})
    assert "retry" in error_of(response, 503)["message"]
    assert response.headers["retry-after"]
    assert (await client.get(PREFERENCES, headers=auth("acme"))).json() == {"mode": "adaptive"}
    assert harness.policies.resolve(tenant="acme", task="code").mode == "adaptive"


async def test_operators_see_keys_and_preferences(client: httpx.AsyncClient) -> None:
    """With the admin token only, and without any key."""
    await put(client, "acme", {"mode": "adaptive"})
    for headers in ({}, auth("acme")):
        error_of(await client.get("/admin/v1/tenants", headers=headers), 401)
    answer = (await client.get("/admin/v1/tenants", headers={"Authorization": "Bearer sesame"})).json()
    assert [key["tenant"] for key in answer["keys"]["keys"]] == sorted(TENANTS)
    assert answer["keys"]["rejected"] is None
    assert answer["preferences"] == {"acme": {"mode": "adaptive"}}
    assert "sk-" not in json.dumps(answer)


async def test_methods(client: httpx.AsyncClient) -> None:
    """Others are 405 in OpenAI's form."""
    for method, path in (("POST", PREFERENCES), ("PUT", ALPHA), ("PATCH", PREFERENCES), ("DELETE", ALPHA)):
        error_of(await client.request(method, path, json={}, headers=auth("acme")), 405)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["threshold", "enable_above", "mode", "tasks", "code"]) | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


async def test_any_json(client: httpx.AsyncClient, harness: Harness) -> None:
    """Any JSON is taken or refused, never a failure; what is taken keeps its bounds."""
    bodies: list[bytes] = []

    @given(st.dictionaries(st.sampled_from(["threshold", "mode", "tasks", "x"]), JSON, max_size=3))
    def collect(body: dict[str, Any]) -> None:
        bodies.append(json.dumps(body).encode())

    collect()
    for body in bodies:
        response = await client.put(PREFERENCES, content=body, headers=auth("acme"))
        assert response.status_code in {200, 422}, body
        threshold = harness.policies.resolve(tenant="acme", task="code").threshold
        assert threshold.disable_below <= threshold.enable_above
