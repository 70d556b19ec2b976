"""What a router counts for the savings report, how it reaches the store, and how it is asked for."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes import T0, Clock, FakePool, Harness, ending, gone, request, whole
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from policies.decide import Reason
from policies.savings import OTHERS, Cell, Observation, Sums
from router.api import _api_error
from router.errors import ApiError, BadRequestError
from router.guards import OperatorGuard
from router.savings import SavingsBuffer, SavingsSync, observation
from router.savings_report import Handler, Query, SavingsReport, read_query, spans_of
from router.savings_store import DAY_S, HOUR_S, MAX_TENANTS, Counted, FakeSavingsStore, Span
from router.tenancy import Tenancy

pytestmark = pytest.mark.unit

ROUTED: dict[str, Any] = {"mode": "threshold", "threshold": {"enable_above": 0.0, "disable_below": 0.0}}
SEEN = Observation("routed", 0.05, completed=True, tokens=101, decode_s=1.0, completion_s=1.5)
HELD = SEEN._replace(group="holdout")


def nobody(_: str) -> bool:
    return False


def parts(*, reserved: Any = nobody) -> tuple[SavingsBuffer, SavingsSync, FakeSavingsStore]:
    """A buffer, what empties it, and the store it is emptied into."""
    buffer, store = SavingsBuffer(reserved=reserved), FakeSavingsStore()
    sync = SavingsSync(buffer)
    sync.store = store
    return buffer, sync, store


async def stored(store: FakeSavingsStore, hour: int) -> Mapping[Cell, Sums]:
    return (await store.read(Span(HOUR_S, hour))).cells


async def test_every_request_is_seen_in_its_group(tmp_path: Path) -> None:
    """Those that chance holds out, the others that it might have, with the share; times and steps as they were."""
    harness = await Harness(tmp_path, **ROUTED, holdout={"share": 0.4}).ready()
    for _ in range(30):
        await harness.answer()
    seen = [observation(outcome) for outcome in harness.outcomes]
    groups = {one.group for one in seen if one is not None}
    assert groups == {"holdout", "routed"}
    for outcome, one in zip(harness.outcomes, seen, strict=True):
        assert one is not None
        assert (one.group == "holdout") == (outcome.decision.reason is Reason.HOLDOUT)
        assert one.share == 0.4
        assert one.speculative == (outcome.decision.k > 0)
        assert (one.tokens, one.decode_s, one.steps, one.accepted) == (9, 0.4, 3, 5)


async def test_who_could_not_be_held_out_is_in_no_comparison(tmp_path: Path) -> None:
    """Without a holdout, in a mode without a choice, and where the request chose for itself."""
    harness = await Harness(tmp_path, **ROUTED, allow_overrides=True, holdout={"share": 0.4}).ready()
    await harness.answer(request({"x-specroute-route": "vanilla"}))
    (tmp_path / "b").mkdir()
    fixed = await Harness(tmp_path / "b", holdout={"share": 0.4}).ready()
    await fixed.answer()
    (tmp_path / "c").mkdir()
    without = await Harness(tmp_path / "c", **ROUTED).ready()
    await without.answer()
    for outcome in (*harness.outcomes, *fixed.outcomes, *without.outcomes):
        one = observation(outcome)
        assert one is not None
        assert (one.group, one.share, one.completed) == ("other", 0.0, True)


async def test_what_moved_or_broke_off(tmp_path: Path) -> None:
    """A moved request is in no group; a lost one counts as lost in its own; one that was wrong nowhere."""
    moved = Harness(tmp_path, **ROUTED, ngram=FakePool([gone()]), holdout={"share": 0.001})
    await (await moved.ready()).answer()
    one = observation(moved.outcomes[0])
    assert moved.outcomes[0].failovers == 1
    assert one is not None
    assert one.group == "other"
    (tmp_path / "b").mkdir()
    routed = await Harness(tmp_path / "b", **ROUTED, holdout={"share": 0.001}).ready()
    await routed.answer()
    outcome = routed.outcomes[0]
    lost = observation(replace(outcome, result="cancelled"))
    assert lost is not None
    assert (lost.group, lost.completed, lost.share) == ("routed", False, 0.001)
    assert observation(replace(outcome, result="refused", status=400)) is None
    full = observation(replace(outcome, result="refused", status=429))
    assert full is not None
    assert not full.completed
    assert observation(replace(outcome, ending=ending(decode_s=None))) is None
    assert observation(replace(outcome, ending=ending(continued_after=3))) is None
    single = observation(replace(outcome, ending=ending((), (), decode_s=None)))
    assert single is not None
    assert (single.tokens, single.decode_s, single.completed) == (1, 0.0, True)


async def test_counts_reach_the_store_once_though_its_reply_is_lost() -> None:
    """A flush without an answer goes again, and is known there; what came meanwhile goes after it."""
    buffer, sync, store = parts()
    buffer.add("acme", "code", SEEN, T0)
    store.lose_replies = 1
    assert not await sync.flush()
    buffer.add("acme", "code", SEEN, T0)
    assert await sync.flush()
    hour = int(T0 // HOUR_S)
    assert await stored(store, hour) == {Cell("acme", "code", "routed"): Sums.of(SEEN) + Sums.of(SEEN)}
    assert (await store.read(Span(DAY_S, int(T0 // DAY_S)))).cells == await stored(store, hour)


async def test_two_routers_add_up() -> None:
    """Each with flushes of its own."""
    first, one, store = parts()
    second, other, _ = parts()
    other.store = store
    first.add("acme", "code", SEEN, T0)
    second.add("acme", "code", HELD, T0 + 1)
    assert await one.flush()
    assert await other.flush()
    assert (await stored(store, int(T0 // HOUR_S))).keys() == {
        Cell("acme", "code", "routed"),
        Cell("acme", "code", "holdout"),
    }


async def test_an_outage_costs_at_most_the_oldest_hours() -> None:
    """Nothing is lost while it lasts a day; of a longer one the last 48 hours stay."""
    buffer, sync, store = parts()
    store.down = True
    for hour in range(60):
        buffer.add("acme", "code", SEEN, T0 + hour * HOUR_S)
        assert not await sync.flush()
    store.down = False
    assert await sync.flush()
    kept = [hour for hour in range(60) if await stored(store, int(T0 // HOUR_S) + hour)]
    # The first was on its way when the outage began.
    assert kept == [0, *range(12, 60)]
    assert buffer.dropped == 11


async def test_many_tenants_cost_bounded_memory() -> None:
    """Those beyond are counted together, in both groups alike; reserved ones have a place."""
    buffer, sync, store = parts(reserved=lambda tenant: tenant == "named")
    for number in range(MAX_TENANTS + 50):
        buffer.add(f"t{number}", "code", SEEN, T0)
        buffer.add(f"t{number}", "code", HELD, T0)
    buffer.add("named", "code", SEEN, T0)
    assert await sync.flush()
    found = await stored(store, int(T0 // HOUR_S))
    assert len(found) == 2 * MAX_TENANTS + 2 + 1
    assert found[Cell(OTHERS, "code", "routed")].tally.requests == 50
    assert found[Cell(OTHERS, "code", "holdout")].tally.requests == 50
    assert Cell("named", "code", "routed") in found


async def test_what_is_left_is_written_at_the_end() -> None:
    """And an end without a store is told, not raised."""
    buffer, sync, store = parts()
    buffer.add("acme", "code", SEEN, T0)
    await sync.close()
    assert await stored(store, int(T0 // HOUR_S))
    buffer.add("acme", "code", SEEN, T0)
    store.down = True
    await sync.close()


def client(
    store: FakeSavingsStore | None, buffer: SavingsBuffer, *, guard: OperatorGuard | None = None
) -> httpx.AsyncClient:
    """The endpoints by themselves; without a guard everybody is an operator."""

    def guarded(handler: Handler) -> Handler:
        async def checked(request: Request) -> Response:
            if guard is not None:
                guard.check_admin(request.headers)
            return await handler(request)

        return checked

    sync = SavingsSync(buffer)
    sync.store = store
    report = SavingsReport(
        sync,
        share=lambda: 0.05,
        capacity=lambda _: lambda: {"status": "unknown", "statement": "?", "tasks": []},
        tenant_of=Tenancy(trusted_header=True).tenant,
        clock=Clock(),
    )
    app = Starlette(routes=report.routes(guarded), exception_handlers={ApiError: _api_error})
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1")


async def test_the_report_has_what_was_counted_a_moment_ago() -> None:
    """Asking for it flushes; the window is made of whole hours, or days; tenant and task restrict it."""
    buffer, store = SavingsBuffer(reserved=nobody), FakeSavingsStore()
    for tenant, hours_ago in (("acme", 0), ("acme", 1), ("other", 1), ("acme", 30), ("acme", 24 * 20)):
        buffer.add(tenant, "code", SEEN, T0 - hours_ago * HOUR_S)
    async with client(store, buffer) as http:
        day = (await http.get("/admin/v1/report")).json()
        assert day["overall"]["requests"] == 3
        assert day["since"] == (T0 - 24 * HOUR_S) // HOUR_S * HOUR_S
        assert (day["until"], day["window_s"], day["store_up"]) == (T0, 86_400.0, True)
        assert day["capacity"]["status"] == "unknown"
        for given, requests in (("35d", 5), ("2d", 4), ("1h", 3), ("1m", 1), ("35d&tenant=other", 1)):
            found = (await http.get(f"/admin/v1/report?window={given}")).json()
            assert found["overall"]["requests"] == requests, given
        assert (await http.get("/admin/v1/report?task=sql")).json()["overall"]["verdict"] == "no_requests"


async def test_a_tenant_sees_itself_and_nobody_else() -> None:
    """Neither others' figures, nor the fleet's capacity."""
    buffer, store = SavingsBuffer(reserved=nobody), FakeSavingsStore()
    buffer.add("acme", "code", SEEN, T0)
    buffer.add("rival", "sql", SEEN, T0)
    async with client(store, buffer) as http:
        answer = await http.get("/v1/specroute/report", headers={"X-Specroute-Tenant": "acme"})
        assert "rival" not in answer.text
        assert "sql" not in answer.text
        assert answer.json()["overall"]["requests"] == 1
        assert answer.json()["capacity"] is None
        assert answer.headers["cache-control"] == "no-store"
        other = await http.get("/v1/specroute/report?tenant=rival", headers={"X-Specroute-Tenant": "acme"})
        assert other.status_code == 403


async def test_only_operators_see_everybody() -> None:
    """A tenant's own needs no operator."""
    async with client(
        FakeSavingsStore(), SavingsBuffer(reserved=nobody), guard=OperatorGuard(admin_token="secret")
    ) as http:
        assert (await http.get("/admin/v1/report")).status_code == 401
        token = {"Authorization": "Bearer secret"}
        assert (await http.get("/admin/v1/report", headers=token)).status_code == 200
        assert (await http.get("/v1/specroute/report")).status_code == 200


async def test_without_the_store_the_report_says_so() -> None:
    """It has what this router could not tell it yet, what is on its way included."""
    buffer, store = SavingsBuffer(reserved=nobody), FakeSavingsStore(down=True)
    buffer.add("acme", "code", SEEN, T0)
    async with client(store, buffer) as http:
        for expected in (1, 2):
            found = (await http.get("/admin/v1/report")).json()
            assert found["store_up"] is False
            assert found["overall"]["requests"] == expected
            assert "The store does not answer" in found["notes"][-1]
            buffer.add("acme", "code", SEEN, T0)
    async with client(None, buffer) as http:
        assert (await http.get("/admin/v1/report")).json()["store_up"] is False


async def test_few_reports_are_made_at_a_time() -> None:
    """However many a tenant asks for: each is work for the store and for threads."""
    reading, most = 0, 0

    class Slow(FakeSavingsStore):
        async def read(self, span: Span) -> Counted:
            nonlocal reading, most
            reading += 1
            most = max(most, reading)
            await asyncio.sleep(0)
            reading -= 1
            return await super().read(span)

    async with client(Slow(), SavingsBuffer(reserved=nobody)) as http:
        await asyncio.gather(*(http.get("/v1/specroute/report") for _ in range(6)))
    assert most == 2


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"window": "36d"}, "window: at most 35d are kept"),
        ({"window": "24"}, "window: "),
        ({"windw": "24h"}, "windw: unknown parameter; did you mean 'window'?"),
    ],
)
def test_bad_queries_name_the_parameter(given: dict[str, str], says: str) -> None:
    """And what to write instead."""
    with pytest.raises(BadRequestError) as caught:
        read_query(given)
    assert says.partition(";")[0] in str(caught.value)


def test_windows_are_made_of_whole_hours_or_days() -> None:
    """As many as they touch."""
    assert read_query({}) == Query(86_400.0)
    assert spans_of(3600.0, 7300.0) == [Span(HOUR_S, 1), Span(HOUR_S, 2)]
    assert [span.length_s for span in spans_of(3.0 * DAY_S, T0)] == [HOUR_S] * 73
    assert [span.length_s for span in spans_of(3.0 * DAY_S + 1, T0)] == [DAY_S] * 4
    assert len(spans_of(35.0 * DAY_S, T0)) == 36


async def test_the_hook_waits_for_nothing(tmp_path: Path) -> None:
    """Requests are answered while the store hangs."""
    buffer, sync, _ = parts()
    harness = await Harness(tmp_path, **ROUTED, hooks=[buffer.on_outcome], holdout={"share": 0.4}).ready()

    class Hanging(FakeSavingsStore):
        async def add(self, *_: Any) -> None:
            await asyncio.Event().wait()

    sync.store = Hanging()
    buffer.add("acme", "code", SEEN, T0)
    task = asyncio.create_task(sync.flush())
    await asyncio.sleep(0)
    assert await harness.answer() == whole().data
    assert buffer.unsent()[int(T0 // HOUR_S)].began_s == T0
    assert isinstance(buffer.unsent()[int(T0 // HOUR_S)], Counted)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
