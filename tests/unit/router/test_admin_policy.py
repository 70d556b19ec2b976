"""The admin API of the policy, over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from app_client import client_of
from fakes import Clock, Harness, policy_text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.admin_policy import PolicyAdmin
from router.fake_policy_store import FakePolicyStore
from router.policy_changes import PolicyChanges
from router.policy_sync import PolicySync

pytestmark = pytest.mark.unit

POLICY = "/admin/v1/policy"
FORCE = {"If-Match": "*"}


@pytest.fixture
def store() -> FakePolicyStore:
    return FakePolicyStore()


@pytest.fixture
async def client(tmp_path: Path, store: FakePolicyStore) -> AsyncIterator[httpx.AsyncClient]:
    harness = Harness(tmp_path)
    sync = PolicySync(harness.policies, clock=Clock(7.0))
    await sync.start(store)
    admin = PolicyAdmin(harness.policies, sync, PolicyChanges(sync, Clock(7.0)))
    async with client_of(harness, policy=admin, token="sesame") as client:
        client.headers["Authorization"] = "Bearer sesame"
        yield client


async def in_force(client: httpx.AsyncClient) -> dict[str, Any]:
    """What GET tells."""
    found: dict[str, Any] = (await client.get(POLICY)).raise_for_status().json()
    return found


async def test_the_policy_is_shown_as_written(client: httpx.AsyncClient, tmp_path: Path) -> None:
    """Text, revision as an ETag, where it comes from, the versions, the routers, nothing rejected."""
    response = await client.get(POLICY)
    state = response.json()
    assert state["text"] == policy_text()
    assert response.headers["etag"] == f'"{state["revision"]}"'
    assert (state["name"], state["version"], state["origin"], state["rejected"]) == ("test", 1, "file", None)
    assert state["source"] == state["file"]["path"] == str(tmp_path / "policy.yaml")
    assert (state["file"]["in_force"], state["store_up"]) == (True, True)
    assert [version["version"] for version in state["history"]] == [1]
    ((router),) = state["routers"]
    assert (router["version"], router["revision"], router["rejects_newer"]) == (1, state["revision"], False)


async def test_a_put_with_the_etag_of_what_was_read(client: httpx.AsyncClient) -> None:
    """Is in force at once, signed, and answered with the new state and its ETag."""
    etag = (await client.get(POLICY)).headers["etag"]
    headers = {"If-Match": etag, "X-Specroute-Author": "ann", "X-Specroute-Note": "café\u00a0time".encode()}
    response = await client.put(POLICY, content=policy_text("new"), headers=headers)
    assert response.status_code == 200
    state = response.json()
    assert (state["name"], state["version"], state["origin"], state["author"]) == ("new", 2, "put", "ann")
    assert (state["note"], state["at"], state["source"]) == ("cafétime", 7.0, "version 2")
    assert response.headers["etag"] == f'"{state["revision"]}"' != etag
    assert not state["file"]["in_force"]
    assert [version["name"] for version in state["history"]] == ["new", "test"]


@pytest.mark.parametrize("tag", ["{}", '"{}"', 'W/"other", "{}"', ' "x" , "{}" ', "*"])
async def test_ways_to_write_the_condition(client: httpx.AsyncClient, tag: str) -> None:
    """With quotes or without, one of several, or whatever there is."""
    revision = (await in_force(client))["revision"]
    headers = {"If-Match": tag.replace("{}", revision)}
    assert (await client.put(POLICY, content=policy_text("new"), headers=headers)).status_code == 200


@pytest.mark.parametrize("tag", ['"000000000000"', "nonsense", 'W/"{}"', '"*"', '"', ","])
async def test_a_stale_condition(client: httpx.AsyncClient, tag: str) -> None:
    """412 names what is in force now and what to do; nothing changes. Weak tags never match."""
    before = await in_force(client)
    headers = {"If-Match": tag.replace("{}", before["revision"])}
    response = await client.put(POLICY, content=policy_text("new"), headers=headers)
    assert response.status_code == 412
    message = response.json()["error"]["message"]
    assert f"test@{before['revision']}" in message
    assert "If-Match: *" in message
    assert (await in_force(client))["version"] == 1


@pytest.mark.parametrize("headers", [{}, {"If-Match": ""}, {"If-Match": "  "}])
async def test_a_missing_condition(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    """428 says what to send."""
    response = await client.put(POLICY, content=policy_text("new"), headers=headers)
    assert (response.status_code, response.json()["error"]["param"]) == (428, "If-Match")
    assert "ETag" in response.json()["error"]["message"]


async def test_of_two_puts_at_once_one_is_told_that_it_lost(client: httpx.AsyncClient) -> None:
    """Exactly one wins, and it is the one in force."""
    headers = {"If-Match": (await client.get(POLICY)).headers["etag"]}
    answers = await asyncio.gather(
        *(client.put(POLICY, content=policy_text(f"p{number}"), headers=headers) for number in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412, 412]
    (winner,) = (answer.json()["name"] for answer in answers if answer.status_code == 200)
    assert (await in_force(client))["name"] == winner


BROKEN = policy_text("x", mood="bad", threshold={"enable_above": 2}).encode()


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", POLICY), ("POST", f"{POLICY}/validate")], ids=["put", "validate"]
)
async def test_a_broken_text(client: httpx.AsyncClient, method: str, path: str) -> None:
    """422 tells every problem with its place, and nothing changes."""
    response = await client.request(method, path, content=BROKEN, headers=FORCE)
    assert response.status_code == 422
    body = response.json()
    assert body["valid"] is False
    assert {problem["path"] for problem in body["problems"]} >= {"spec.mood", "spec.threshold.enable_above"}
    for problem in body["problems"]:
        assert problem["line"] == 1
        assert problem["column"] > 1
        assert problem["message"] in body["error"]["message"]
    assert body["error"]["code"] == 422
    assert (await in_force(client))["version"] == 1


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        policy_text().encode("utf-16"),
        b"x" * (3 * 2**19),
        b"[" * 100_000,
        b"a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]",
        b"spec: {k: 1, k: 2}",
        b"\x00",
        b"!!python/object:os.system {}",
    ],
)
async def test_texts_that_are_no_policy(client: httpx.AsyncClient, text: bytes) -> None:
    """422 with a place, whatever they are."""
    response = await client.put(POLICY, content=text, headers=FORCE)
    assert response.status_code == 422
    assert response.json()["problems"][0]["line"] >= 1


async def test_a_text_that_is_too_large(client: httpx.AsyncClient) -> None:
    """413 names the limit."""
    response = await client.put(POLICY, content=b"x" * (2 * 2**20 + 1), headers=FORCE)
    assert response.status_code == 413
    assert "2097152" in response.json()["error"]["message"]


async def test_a_good_text_is_valid(client: httpx.AsyncClient) -> None:
    """And nothing is changed by asking."""
    response = await client.post(f"{POLICY}/validate", content=policy_text("new"))
    body = response.json()
    assert (response.status_code, body["valid"], body["name"], body["problems"]) == (200, True, "new", [])
    assert body["warnings"] == []
    assert (await in_force(client))["name"] == "test"


async def test_warnings_are_told_and_hinder_nothing(client: httpx.AsyncClient) -> None:
    """By a validation and by a PUT alike, with their places."""
    text = policy_text("odd", mode="threshold", threshold={"enable_above": 0.999})
    told = (await client.post(f"{POLICY}/validate", content=text)).json()["warnings"]
    assert "spec.threshold.enable_above" in {warning["path"] for warning in told}
    assert all(warning["line"] == 1 and warning["message"] for warning in told)
    response = await client.put(POLICY, content=text, headers=FORCE)
    assert (response.status_code, response.json()["warnings"]) == (200, told)


async def test_rolling_back_over_http(client: httpx.AsyncClient) -> None:
    """To the version before, or to a revision; under a condition if there is one."""
    first = (await in_force(client))["revision"]
    for name in ("second", "third"):
        await client.put(POLICY, content=policy_text(name), headers=FORCE)
    response = await client.post(f"{POLICY}/rollback")
    state = response.json()
    assert (state["name"], state["origin"], state["version"]) == ("second", "rollback", 4)
    stale = await client.post(
        f"{POLICY}/rollback", json={"revision": first}, headers={"If-Match": f'"{first}"'}
    )
    assert stale.status_code == 412
    headers = {"If-Match": response.headers["etag"]}
    back = await client.post(f"{POLICY}/rollback", json={"revision": first}, headers=headers)
    assert back.json()["name"] == "test"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"revision": "000000000000"}', 404),
        (b"{}", 404),
        (b"", 404),
        (b'{"revision": null}', 404),
        (b'{"revision": "x"}', 400),
        (b'{"revision": 7}', 400),
        (b'{"version": 1}', 400),
        (b"[]", 400),
        (b"{", 400),
        (b"\xff", 400),
        (b"[" * 100_000, 400),
    ],
)
async def test_what_cannot_be_rolled_back_to(client: httpx.AsyncClient, body: bytes, status: int) -> None:
    """404 for what the history does not have, 400 for what is no revision."""
    response = await client.post(f"{POLICY}/rollback", content=body)
    assert response.status_code == status
    assert response.json()["error"]["message"].startswith(("revision", "body"))


async def test_without_the_store(client: httpx.AsyncClient, store: FakePolicyStore) -> None:
    """503 says what to do instead; the policy is shown, a text can be checked, nothing has changed."""
    store.down = True
    for method, path in (("PUT", POLICY), ("POST", f"{POLICY}/rollback")):
        response = await client.request(
            method, path, content=policy_text("x") * (method == "PUT"), headers=FORCE
        )
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) >= 1
        assert "change the policy file" in response.json()["error"]["message"]
    assert (await client.post(f"{POLICY}/validate", content=policy_text("x"))).status_code == 200
    state = await in_force(client)
    assert (state["name"], state["history"], state["routers"]) == ("test", [], [])


async def test_a_policy_that_another_release_wrote(client: httpx.AsyncClient, store: FakePolicyStore) -> None:
    """503 says so; it is not written over."""
    store.foreign = True
    response = await client.put(POLICY, content=policy_text("x"), headers=FORCE)
    assert response.status_code == 503
    assert "layout" in response.json()["error"]["message"]


async def test_methods_and_tokens(client: httpx.AsyncClient) -> None:
    """Every way to the policy asks for the admin token; other methods are named."""
    response = await client.delete(POLICY)
    assert (response.status_code, set(response.headers["allow"].split(", "))) == (405, {"GET", "HEAD", "PUT"})
    for method, path in (
        ("GET", POLICY),
        ("PUT", POLICY),
        ("POST", f"{POLICY}/validate"),
        ("POST", f"{POLICY}/rollback"),
    ):
        response = await client.request(method, path, headers={**FORCE, "Authorization": "Bearer x"})
        assert response.status_code == 401


YAML_LIKE = st.text(
    st.sampled_from(list("spec:mode{}[]-|>&*!#'\"%@`?, \n\tk0.9~=<é\ufeff\u2028")), max_size=80
)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["mode", "threshold", "k", "tasks", "tenants", "segments", "schedules", "canary", "limits"]
)
BODIES = st.one_of(
    st.binary(max_size=60),
    YAML_LIKE.map(str.encode),
    st.dictionaries(KEYS, TREES, max_size=3).map(lambda spec: policy_text("fuzz", **spec).encode()),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    body=BODIES,
    tag=st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), min_size=1, max_size=9),
)
async def test_no_body_and_no_condition_is_an_error_of_ours(
    client: httpx.AsyncClient, body: bytes, tag: str
) -> None:
    """Whatever comes: taken or refused with a reason, never a 5xx."""
    for condition in ("*", tag):
        response = await client.put(POLICY, content=body, headers={b"If-Match": condition.encode("latin-1")})
        assert response.status_code in {200, 412, 422, 428}
        if response.status_code != 200:
            assert response.json()["error"]["message"]
