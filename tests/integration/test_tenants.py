"""Tenants of a running service with two routers on one Valkey: their keys, their figures, their preferences."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest
from services import MODEL
from two_routers import KEYS, ROUTERS, TwoRouters
from waiting import ANSWER_S, until

from router.preference_store import ConnectedPreferences, FakePreferenceStore, PreferenceStore
from router.store import RedisStore, StoreSettings
from router.valkey import EmbeddedValkey

pytestmark = pytest.mark.integration

ALPHA, PREFERENCES = "/v1/specroute/alpha", "/v1/specroute/preferences"
IN_A_ROW = 12
"""Answers that would hardly all come from the same one of two routers."""
BAND = {"enable_above": 0.05, "disable_below": 0.01}
HIGH = {"enable_above": 0.999, "disable_below": 0.998}
SPEC: Mapping[str, Any] = {
    "threshold": BAND,
    "allow_overrides": False,
    "exploration": {"share": 0.0, "max_share": 0.0},
    "acceptance": {"half_life": "24h"},
    "segments": {"premium": {"self_service": {"threshold": {"min": 0.3, "max": 0.999}}}},
    "tenants": {"acme": {"segment": "premium"}, "beta": {"segment": "premium"}},
}


@pytest.fixture(params=["fake", "valkey"])
def store(request: pytest.FixtureRequest, valkey: EmbeddedValkey, patient: StoreSettings) -> PreferenceStore:
    """The fake and the real one: what holds for both is what the fake is for."""
    if request.param == "fake":
        return FakePreferenceStore()
    model = uuid4().hex
    return ConnectedPreferences(RedisStore(valkey.url, model, settings=patient), model)


async def test_the_store_of_preferences(store: PreferenceStore) -> None:
    """Compare and set, versions that change with every write, room for so many, nothing left of what is removed."""
    empty = await store.read_preferences(None)
    assert empty is not None
    assert (empty.version, empty.texts) == ("", {})
    assert await store.read_preferences("") is None
    assert await store.write_preferences("ä:}", '{"ö": 1}', expected="", most=2) == "done"
    assert await store.write_preferences("ä:}", "other", expected="", most=2) == "changed"
    first = await store.read_preferences(empty.version)
    assert first is not None
    assert first.texts == {"ä:}": '{"ö": 1}'}
    assert await store.read_preferences(first.version) is None
    assert await store.write_preferences("b", "1", expected="", most=2) == "done"
    assert await store.write_preferences("c", "1", expected="", most=2) == "full"
    assert await store.write_preferences("b", "2", expected="1", most=2) == "done"
    assert await store.write_preferences("ä:}", "", expected='{"ö": 1}', most=2) == "done"
    assert await store.write_preferences("c", "", expected="", most=1) == "done"
    last = await store.read_preferences(first.version)
    assert last is not None
    assert last.texts == {"b": "2"}


async def test_of_writers_at_once_one_wins(store: PreferenceStore) -> None:
    """The others learn that it changed."""
    answers = await asyncio.gather(
        *(store.write_preferences("a", str(number), expected="", most=9) for number in range(20))
    )
    assert Counter(answers) == {"done": 1, "changed": 19}


class Shared:
    """What tenants ask of two routers."""

    def __init__(self, routers: TwoRouters) -> None:
        self.routers, self.service = routers, routers.service

    def call(self, method: str, path: str, key: str | None, **options: Any) -> httpx.Response:
        """One request on a connection of its own, so that either router may get it."""
        headers = {
            **({} if key is None else {"Authorization": f"Bearer {key}"}),
            **options.pop("headers", {}),
        }
        return httpx.request(
            method, f"{self.service.url}{path}", headers=headers, timeout=ANSWER_S, **options
        )

    def everywhere(self, key: str, wanted: Callable[[httpx.Response], bool], path: str = ALPHA) -> bool:
        """Whether so many answers in a row are as wanted."""
        return all(wanted(self.call("GET", path, key)) for _ in range(IN_A_ROW))

    def ask(self, tenant: str, task: str = "code", *, number: int = 0) -> dict[str, Any]:
        """The details of one completion whose drafts are nearly always accepted."""
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": f"{task} {number}"}],
            "max_tokens": 40,
            "temperature": 0,
            "metadata": {"task": task, "fake_alpha": 0.95},
        }
        response = self.call(
            "POST",
            "/v1/chat/completions",
            KEYS[tenant],
            json=body,
            headers={"X-Specroute-Details": "1"},
        )
        details: dict[str, Any] = response.raise_for_status().json()["specroute"]
        return details

    def asked(self, tenant: str, times: int) -> list[dict[str, Any]]:
        """The details of several."""
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda number: self.ask(tenant, number=number), range(times)))

    def decided(self, tenant: str) -> Counter[tuple[str, str]]:
        """Routes and reasons of the next requests."""
        return Counter((one["route"], one["reason"]) for one in self.asked(tenant, IN_A_ROW))


@pytest.fixture(scope="module")
def shared(two_routers: TwoRouters) -> Shared:
    """Both routers know all keys at the start of each test, and nobody has preferences."""
    return Shared(two_routers.mounted("tenants", **SPEC))


def status(expected: int) -> Callable[[httpx.Response], bool]:
    return lambda response: response.status_code == expected


def rows(shared: Shared, tenant: str, query: str = "") -> list[dict[str, Any]]:
    """A tenant's own rows."""
    answer = shared.call("GET", f"{ALPHA}{query}", KEYS[tenant]).raise_for_status().json()
    assert answer["tenant"] == tenant
    entries: list[dict[str, Any]] = answer["entries"]
    return entries


def test_nobody_sees_anybody_else(shared: Shared) -> None:
    """Each tenant's totals are exactly those of its own requests, whatever headers and queries it tries."""
    counts = {"acme": 30, "beta": 20}
    steps = {
        tenant: sum(one["steps"] for one in shared.asked(tenant, times)) for tenant, times in counts.items()
    }

    def totals(tenant: str) -> tuple[int, int]:
        lifetimes = [row["lifetime"] for row in rows(shared, tenant) if row["temperature"] is None]
        return sum(one["requests"] for one in lifetimes), sum(one["steps"] for one in lifetimes)

    for tenant, times in counts.items():
        wanted = times, steps[tenant]
        until(lambda tenant=tenant, wanted=wanted: totals(tenant) == wanted)
        assert {row["tenant"] for row in rows(shared, tenant)} == {tenant}
    assert rows(shared, "gamma") == []
    for query in ("?tenant=beta", "?tenant=", "?tenant=acme&tenant=beta", "?tenant=null"):
        assert shared.call("GET", f"{ALPHA}{query}", KEYS["acme"]).status_code == 403
    for path in (ALPHA, PREFERENCES, "/v1/models"):
        for header in ("X-Specroute-Tenant", "x-specroute-tenant"):
            assert shared.call("GET", path, KEYS["acme"], headers={header: "beta"}).status_code == 403
        for key in (None, "sk-test", KEYS["acme"] + "x", "none"):
            response = shared.call("GET", path, key)
            assert response.status_code == 401
            assert response.json()["error"]["code"] == "invalid_api_key"
    told = httpx.get(f"{shared.service.url}/metrics", timeout=ANSWER_S).text
    assert not any(tenant in told for tenant in KEYS.keys() - SPEC["tenants"].keys())


def test_keys_are_rotated_without_a_restart(shared: Shared) -> None:
    """A new key beside the old one, then alone; a broken file changes nothing; all on both routers."""
    new = "sk-test-acme-new"
    until(lambda: shared.everywhere(KEYS["acme"], status(200)))
    shared.routers.give(*KEYS.items(), ("acme", new))
    waited = until(lambda: shared.everywhere(new, status(200)))
    assert shared.everywhere(KEYS["acme"], status(200))
    print(f"a new key was known to both routers after {waited:.2f} s")
    others = [owner for owner in KEYS.items() if owner[0] != "acme"]
    shared.routers.give(*others, broken="sk-hunter2: acme\n")
    until(lambda: shared.service.get("/admin/v1/tenants")["keys"]["rejected"])
    time.sleep(1.5)  # the other router's look at the file
    assert shared.everywhere(new, status(200))
    until(lambda: "API keys rejected" in shared.service.stderr)
    assert "hunter2" not in shared.service.stderr
    shared.routers.give(*others, ("acme", new))
    waited = until(lambda: shared.everywhere(KEYS["acme"], status(401)))
    print(f"a key that was taken back was refused by both after {waited:.2f} s")
    assert shared.everywhere(new, status(200))
    shared.routers.give(*KEYS.items())
    until(lambda: shared.everywhere(KEYS["acme"], status(200)))


def test_a_tenants_own_band_changes_its_route_and_nobody_elses(shared: Shared) -> None:
    """Within the operator's bounds, on both routers; beyond them it is refused and nothing changes."""
    for tenant in ("acme", "beta"):
        shared.asked(tenant, 30)
        until(lambda tenant=tenant: set(shared.decided(tenant)) == {("speculative", "alpha_above")})
    refused = shared.call(
        "PUT", PREFERENCES, KEYS["acme"], json={"threshold": {"enable_above": 1.0, "disable_below": 0.1}}
    )
    assert refused.status_code == 422
    assert [one["path"] for one in refused.json()["problems"]] == [
        "threshold.enable_above",
        "threshold.disable_below",
    ]
    assert shared.call("PUT", PREFERENCES, KEYS["gamma"], json={"threshold": HIGH}).status_code == 403
    began = time.monotonic()
    until(lambda: shared.call("PUT", PREFERENCES, KEYS["acme"], json={"threshold": HIGH}).status_code == 200)

    def holds(response: httpx.Response) -> bool:
        return bool(response.json()["effective"]["code"]["threshold"]["enable_above"] == HIGH["enable_above"])

    until(lambda: shared.everywhere(KEYS["acme"], holds))
    print(f"a tenant's own band was in force on both routers after {time.monotonic() - began:.2f} s")
    assert set(shared.decided("acme")) == {("vanilla", "alpha_below")}
    assert set(shared.decided("beta")) == {("speculative", "alpha_above")}


def test_preferences_survive_a_restart_and_an_outage(shared: Shared) -> None:
    """With the store away they stay in force and cannot be changed; routers that start anew find them."""
    until(lambda: shared.call("PUT", PREFERENCES, KEYS["beta"], json={"threshold": HIGH}).status_code == 200)
    shared.routers.replace(ROUTERS)
    until(lambda: set(shared.decided("beta")) == {("vanilla", "alpha_below")})
    tag = shared.call("GET", PREFERENCES, KEYS["beta"]).headers["etag"]
    shared.routers.stop_store()
    refused = shared.call("PUT", PREFERENCES, KEYS["beta"], json={})
    assert refused.status_code == 503
    assert "retry" in refused.json()["error"]["message"]
    assert refused.headers["retry-after"]
    assert shared.call("GET", PREFERENCES, KEYS["beta"]).json() == {"threshold": HIGH}
    assert set(shared.decided("beta")) == {("vanilla", "alpha_below")}
    shared.routers.start_store()

    def delete(if_match: str) -> int:
        return shared.call("DELETE", PREFERENCES, KEYS["beta"], headers={"If-Match": if_match}).status_code

    # Each of the two routers finds the store again in its own time.
    until(lambda: delete('"stale"') == 412)
    until(lambda: delete(tag) == 200)
    until(lambda: delete(tag) == 412)
    until(lambda: set(shared.decided("beta")) == {("speculative", "alpha_above")})
