"""The savings report over two routers with fake engines, and its counts in a real store."""

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest
from services import MODEL, SPECROUTE, Service
from two_routers import TwoRouters
from waiting import ANSWER_S, until

from policies.savings import OTHERS, Cell, Observation, Sums
from router.savings_store import (
    DAY_S,
    HOUR_S,
    MAX_TENANTS,
    Addend,
    ConnectedSavings,
    FakeSavingsStore,
    SavingsStore,
    Span,
)
from router.stats_protocol import FlushId
from router.store import RedisStore, StoreSettings
from router.store_records import KeyNames
from router.valkey import EmbeddedValkey

pytestmark = pytest.mark.integration

HOUR = 480_000
CODE = Cell("acme", "code", "routed")
HELD = Cell("acme", "code", "holdout")
TENANT = "savings"
ENOUGH = 112
"""Held-out requests, with some to spare."""


def seen(group: str = "routed", decode_s: float = 1.0) -> Sums:
    return Sums.of(
        Observation(group, 0.05, completed=True, tokens=101, decode_s=decode_s, completion_s=2.0)  # type: ignore[arg-type]
    )


def addend(cell: Cell = CODE, sums: Sums | None = None, *, hour: int = HOUR, named: bool = False) -> Addend:
    return Addend(hour, cell, sums or seen(cell.group), hour * HOUR_S + 60.25, named)


@pytest.fixture(params=["fake", "valkey"])
def store(request: pytest.FixtureRequest, valkey: EmbeddedValkey, patient: StoreSettings) -> SavingsStore:
    if request.param == "fake":
        return FakeSavingsStore()
    return ConnectedSavings(RedisStore(valkey.url, "m", settings=patient), f"org/{uuid4().hex}")


async def test_counts_of_routers_add_up_once(store: SavingsStore) -> None:
    """In their hour and their day, each flush once however often it is sent."""
    await store.add(FlushId("a", 1), [addend(), addend(HELD)])
    await store.add(FlushId("a", 1), [addend(), addend(HELD)])
    await store.add(FlushId("b", 1), [addend(sums=seen(decode_s=0.123456789012345))])
    await store.add(FlushId("a", 2), [addend(hour=HOUR + 1)])
    await store.add(FlushId("a", 1), [addend(hour=HOUR + 1)])
    hour, later = await store.read(Span(HOUR_S, HOUR)), await store.read(Span(HOUR_S, HOUR + 1))
    day = await store.read(Span(DAY_S, HOUR * HOUR_S // DAY_S))
    assert hour.cells == {CODE: seen() + seen(decode_s=0.123456789012345), HELD: seen("holdout")}
    assert later.cells == {CODE: seen()}
    assert day.cells[CODE].row == pytest.approx((hour.cells[CODE] + later.cells[CODE]).row)
    assert hour.began_s == day.began_s == HOUR * HOUR_S + 60.25
    assert (await store.read(Span(HOUR_S, HOUR + 2))).cells == {}


async def test_tenants_are_bounded_but_for_named_ones(store: SavingsStore) -> None:
    """Whoever comes late is counted with the others, held out or not; whom a file names has a place."""
    crowd = [addend(Cell(f"t{number}", "code", "routed")) for number in range(MAX_TENANTS)]
    await store.add(FlushId("a", 1), crowd)
    late = [addend(Cell("late", "code", "routed")), addend(Cell("late", "code", "holdout"))]
    await store.add(FlushId("b", 1), [*late, addend(named=True), addend(Cell("t3", "code", "holdout"))])
    found = (await store.read(Span(HOUR_S, HOUR))).cells
    assert len({cell.tenant for cell in found}) == MAX_TENANTS + 2
    assert found[Cell(OTHERS, "code", "routed")] == seen()
    assert found[Cell(OTHERS, "code", "holdout")] == seen("holdout")
    assert found[CODE] == seen()
    assert Cell("t3", "code", "holdout") in found
    assert not any(cell.tenant == "late" for cell in found)


async def test_damage_costs_what_is_damaged(valkey: EmbeddedValkey, patient: StoreSettings) -> None:
    """A row that is none begins anew, a key of another kind too, and everything expires."""
    connection, model = RedisStore(valkey.url, "m", settings=patient), f"org/{uuid4().hex}"
    store = ConnectedSavings(connection, model)
    hour_key = f"{KeyNames(model).prefix}savings:hour:{HOUR}"
    day_key = f"{KeyNames(model).prefix}savings:day:{HOUR * HOUR_S // DAY_S}"
    await connection.command("SET", day_key, "not a hash")
    await connection.command(
        "HSET", hour_key, "routed:code:acme", "1 2 3", "began", "x", "routed:sql:acme", "?"
    )
    await store.add(FlushId("a", 1), [addend(), addend(HELD)])
    for span in (Span(HOUR_S, HOUR), Span(DAY_S, HOUR * HOUR_S // DAY_S)):
        assert (await store.read(span)).cells == {CODE: seen(), HELD: seen("holdout")}
    assert 3 * DAY_S < await connection.command("TTL", hour_key) <= 4 * DAY_S
    assert 35 * DAY_S < await connection.command("TTL", day_key) <= 36 * DAY_S
    await connection.close()


@pytest.fixture(scope="module")
def routers(two_routers: TwoRouters) -> TwoRouters:
    """Two routers that speculate for everybody but those chance holds out: every other request."""
    return two_routers.mounted(
        "held-out",
        threshold={"enable_above": 0.02, "disable_below": 0.0},
        exploration={"share": 0.0, "max_share": 0.0},
        holdout={"share": 0.5},
    )


def ask(service: Service) -> dict[str, Any]:
    """One request; what its details say."""
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": f"write it again {uuid4().hex}"}],
        "max_tokens": 12,
        "metadata": {"task": "code", "fake_alpha": 0.8},
    }
    headers = {"X-Specroute-Details": "1", "X-Specroute-Tenant": TENANT}
    answer = httpx.post(
        f"{service.url}/v1/chat/completions", json=body, headers=headers, timeout=ANSWER_S
    ).raise_for_status()
    found: dict[str, Any] = answer.json()["specroute"]
    return found


def reported(*words: str) -> tuple[int, dict[str, Any]]:
    """What `specroute report --json` ends with, and prints."""
    done = subprocess.run(
        [SPECROUTE, "report", "--json", *words], capture_output=True, text=True, timeout=ANSWER_S
    )
    assert done.returncode in {0, 1}, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_the_report_is_the_sum_of_the_details(routers: TwoRouters) -> None:
    """Of both routers: times, passes and tokens, and the ratio that follows; for the tenant as well."""
    service = routers.service
    told: list[dict[str, Any]] = []
    with ThreadPoolExecutor(4) as pool:
        while sum(one["reason"] == "holdout" for one in told) < ENOUGH:
            told += pool.map(lambda _: ask(service), range(40))
            assert len(told) < 1000
    held = [one for one in told if one["reason"] == "holdout"]
    routed = [one for one in told if one["reason"] != "holdout"]
    assert {one["k"] for one in held} == {0}
    assert 0 not in {one["k"] for one in routed}
    path = f"/admin/v1/report?window=2h&tenant={TENANT}"
    until(lambda: service.get(path)["overall"]["requests"] == len(told))
    code, found = reported("--url", service.url, "--window", "2h", "--tenant", TENANT)
    overall = found["overall"]
    assert found["holdout"]["requests"] == overall["holdout_requests"] == len(held)
    assert overall["routed_requests"] == len(routed)
    assert overall["speculative_share"] == 1.0
    taken_s = sum(one["measured_s"] for one in routed)
    assert overall["taken_s"] == pytest.approx(taken_s, rel=1e-4)
    assert overall["passes_made"] == sum(one["steps"] for one in told)
    assert overall["passes_saved"] == sum(one["accepted"] for one in told)
    assert overall["output_tokens"] == sum(one["completion_tokens"] for one in told)
    rate = sum(one["measured_s"] for one in held) / sum(one["completion_tokens"] - 1 for one in held)
    plain_s = rate * sum(one["completion_tokens"] - 1 for one in routed)
    if overall["vanilla_s"] is not None:
        assert overall["vanilla_s"] == pytest.approx(plain_s, rel=1e-4)
        assert overall["saved_s"] == pytest.approx(plain_s - taken_s, rel=1e-2, abs=1e-3)
    print(f"{overall['verdict']}: {overall['note']}\n{found['capacity']['statement']}")
    assert found["capacity"]["status"] in {"from", "never", "always", "unknown"}
    assert (code == 0) == (overall["verdict"] == "saved")
    assert [part["task"] for part in found["tasks"]] == ["code"]
    assert found["store_up"] is True
    own = {"X-Specroute-Tenant": TENANT}
    mine = httpx.get(f"{service.url}/v1/specroute/report?window=2h", headers=own, timeout=ANSWER_S).json()
    assert mine["overall"]["taken_s"] == overall["taken_s"]
    assert mine["capacity"] is None
