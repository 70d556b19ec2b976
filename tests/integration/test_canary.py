"""A canary on fake engines behind two routers: a harmful one is stopped, a harmless one promoted."""

import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from redis import Redis
from services import PATIENTLY, policy
from two_routers import TwoRouters
from waiting import ANSWER_S, until

from router.canary_store import CanaryStore, ConnectedCanaries, FakeCanaryStore, TrialName
from router.stats_protocol import FlushId, StoreUnavailableError
from router.store import RedisStore, StoreSettings
from router.store_records import KeyNames
from router.valkey import EmbeddedValkey

pytestmark = pytest.mark.integration

MOST = 6000
"""Requests until the harmful one must have been stopped; some hundred are enough on a quiet machine."""
CANARY = {"policy": "next.yaml", "share": "50%", "stop": {"confidence": 0.999, "min_requests": 30}}
PLAINLY: dict[str, Any] = {
    "mode": "threshold",
    "threshold": {"enable_above": 0.95, "disable_below": 0.9},
    "exploration": {"share": 0.0, "max_share": 0.0},
}
"""Speculates where nearly all is accepted: nowhere here."""
HARMFUL: dict[str, Any] = {
    "mode": "always_speculative",
    "k": {"mode": "fixed", "min": 8, "max": 8, "default": 8},
}


@pytest.fixture(scope="module")
def routers(two_routers: TwoRouters) -> TwoRouters:
    """Two routers over two fake pools, one store, and a canary beside their policy."""
    (two_routers.mount / "next.yaml").write_text(policy("harmful", **HARMFUL))
    return two_routers.mounted("main", **PLAINLY, canary=CANARY)


def ask(routers: TwoRouters) -> str:
    """One request of a task whose drafts are not accepted: the name of the policy that decided it."""
    response = routers.complete(
        "/v1/chat/completions",
        messages=[{"role": "user", "content": f"a poem {uuid4().hex}"}],
        max_tokens=16,
        metadata={"task": "creative", "fake_alpha": 0.02},
    )
    label: str = response.raise_for_status().headers["x-specroute-policy"]
    return label.partition("@")[0]


def asked(routers: TwoRouters, number: int) -> Counter[str]:
    """Which policy decided how many requests, four at a time."""
    with ThreadPoolExecutor(4) as pool:
        return Counter(pool.map(lambda _: ask(routers), range(number)))


def phases(routers: TwoRouters) -> set[str]:
    """The phases routers are in; each answer comes from one of them."""
    return {routers.service.get("/admin/v1/canary")["phase"] for _ in range(8)}


def test_a_harmful_candidate_is_stopped_everywhere(routers: TwoRouters) -> None:
    """By itself, with the evidence in the log and for the admin, on both routers."""
    until(lambda: phases(routers) == {"running"})
    began, decided = time.monotonic(), Counter[str]()
    while "stopped" not in phases(routers):
        decided += asked(routers, 20)
        assert decided.total() < MOST, decided
    print(
        f"stopped after {decided['harmful']} requests of its own, {time.monotonic() - began:.1f} s of traffic"
    )
    until(lambda: phases(routers) == {"stopped"})
    assert decided["harmful"] > 0
    assert set(asked(routers, 40)) == {"main"}
    state = routers.service.get("/admin/v1/canary")
    assert "decode time" in state["stopped"]["because"]
    assert state["stopped"]["decode_time"]["lower"] > 1
    until(lambda: "canary harmful@" in routers.service.stderr)
    line = next(
        line
        for line in routers.service.stderr.splitlines()
        if "canary harmful@" in line and "stopped" in line
    )
    print(line)
    assert "decode time per token" in line
    assert "creative" in line
    metrics = httpx.get(f"{routers.service.url}/metrics", timeout=ANSWER_S).text
    assert 'specroute_canary_phase{candidate="harmful@' in metrics


def test_a_harmless_candidate_is_promoted_by_the_operator(routers: TwoRouters) -> None:
    """It is not stopped, not promoted by itself, and in force everywhere once the operator says so.

    An always-valid test at a confidence of 0.999 stops it all the same once in a thousand times.
    """
    (routers.mount / "next.yaml").write_text(policy("harmless", mode="always_vanilla"))
    until(lambda: phases(routers) == {"running"})
    decided = asked(routers, 120)
    assert set(decided) == {"main", "harmless"}
    # Each router adds what it saw to the store in its own time.
    until(lambda: routers.service.get("/admin/v1/canary")["verdict"] != "gathering")
    state = routers.service.get("/admin/v1/canary")
    print(f"harmless: {state['verdict']}, {state['requests']}, total time {state['total_time']}")
    assert (state["phase"], state["verdict"]) == ("running", "undecided")
    done = routers.command("promote", "--note", "as quick", "--json", *PATIENTLY)
    assert done.returncode == 0, done.stderr
    promoted = json.loads(done.stdout)
    print(f"promoted: {promoted}")
    assert promoted["policy"].startswith("harmless@")
    assert promoted["routers"] == 2
    assert set(asked(routers, 20)) == {"harmless"}
    until(lambda: routers.service.get("/admin/v1/policy")["origin"] == "promote")
    until(lambda: phases(routers) == {"off"})
    assert httpx.post(f"{routers.service.url}/admin/v1/policy/promote", timeout=ANSWER_S).status_code == 409


@pytest.fixture(params=["fake", "valkey"])
def store(request: pytest.FixtureRequest, valkey: EmbeddedValkey, patient: StoreSettings) -> CanaryStore:
    if request.param == "fake":
        return FakeCanaryStore()
    return ConnectedCanaries(RedisStore(valkey.url, f"org/{uuid4().hex}", settings=patient), "m")


async def test_sums_of_routers_add_up_in_the_store(store: CanaryStore) -> None:
    """Each flush once, however often it is sent; a trial is that of two revisions."""
    trial = TrialName(uuid4().hex[:12], uuid4().hex[:12])
    assert await store.add(trial, FlushId("a", 0), {}) == ({}, "")
    for writer in ("a", "b"):
        for _ in range(2):
            record = await store.add(trial, FlushId(writer, 1), {"main:0:code:requests": 2.0, "x:y": -4.25})
    again = await store.add(trial, FlushId("a", 2), {"main:0:code:requests": 1.0})
    assert {name: value for name, value in again.sums.items() if ":0:" in name or name == "x:y"} == {
        "main:0:code:requests": 5.0,
        "x:y": -8.5,
    }
    assert record.stopped == ""
    other = await store.add(trial._replace(main="other"), FlushId("a", 3), {})
    assert other.sums == {}


async def test_the_first_stop_stands(store: CanaryStore) -> None:
    """Whoever stops a candidate later hears of the first one; every trial of the candidate says so."""
    candidate = uuid4().hex[:12]
    assert await store.stop(candidate, "slow") == "slow"
    assert await store.stop(candidate, "late") == "slow"
    for main in ("one", "two"):
        assert (await store.add(TrialName(candidate, main), FlushId("a", 1), {})).stopped == "slow"


async def test_a_damaged_sum_does_not_keep_the_rest_from_counting(
    valkey: EmbeddedValkey, patient: StoreSettings
) -> None:
    """It begins anew, as if it had not been there."""
    store = ConnectedCanaries(RedisStore(valkey.url, model := f"org/{uuid4().hex}", settings=patient), model)
    trial = TrialName("a" * 12, "b" * 12)
    key = f"{KeyNames(model).prefix}policy:canary:{trial.candidate}:{trial.main}"
    Redis.from_url(valkey.url).hset(key, mapping={"main:0:code:requests": "many", "main:0:code:failed": "1"})
    added = {"main:0:code:requests": 2.0, "main:0:code:failed": 2.0}
    record = await store.add(trial, FlushId("a", 1), added)
    assert {name: record.sums[name] for name in added} == {
        "main:0:code:requests": 2.0,
        "main:0:code:failed": 3.0,
    }
    assert Redis.from_url(valkey.url).ttl(key) > 0


async def test_a_store_that_is_away_says_so(tmp_path: Path) -> None:
    """With the error that routers wait out."""
    away = ConnectedCanaries(RedisStore(f"unix://{tmp_path}/none.sock", "m"), "m")
    with pytest.raises(StoreUnavailableError):
        await away.add(TrialName("a", "b"), FlushId("a", 1), {})
