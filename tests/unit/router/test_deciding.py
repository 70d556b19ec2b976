"""What a decision is given, and what is remembered of it."""

from pathlib import Path
from typing import Any

import pytest
from fakes import Harness, ending, gone, request

from policies.cells import Origin
from policies.decide import Decision
from policies.memory import Home
from router.errors import UnavailableError

pytestmark = pytest.mark.unit

BAND = {"threshold": {"enable_above": 0.6, "disable_below": 0.4}, "acceptance": {"min_steps": 1}}


async def harness_in(folder: Path, **spec: Any) -> Harness:
    return await Harness(folder, **({"mode": "threshold"} | BAND | spec)).ready()


def learn(harness: Harness, accepted: int, *, task: str = "code", tenant: str = "acme") -> None:
    """Show many steps of which `accepted` of 4 draft tokens were accepted."""
    steps = 500
    origin = Origin(task, "high", tenant, half_life_s=600)
    counted = ending((4,) * steps, (accepted,) * steps)
    harness.learning.record("ngram", origin, 4, counted, harness.clock.now_s)


def decided(harness: Harness, *, task: str = "code", tenant: str = "acme") -> Decision:
    policy = harness.policies.resolve(tenant=tenant, task=task)
    return harness.decider.decide(request({"x-specroute-tenant": tenant}), task, policy).decision


def into_the_band(harness: Harness, task: str = "code", tenant: str = "acme") -> None:
    """Let the old evidence fade and show an acceptance between the two thresholds."""
    harness.clock.now_s += 20_000
    for _ in range(4):
        learn(harness, 1, task=task, tenant=tenant)
    alpha = decided(harness, task=task, tenant=tenant).alpha
    assert alpha is not None
    assert 0.4 < alpha < 0.6


async def test_inside_the_band_the_last_choice_stands(tmp_path: Path) -> None:
    """The same evidence speculates after speculation and does not after vanilla."""
    harness = await harness_in(tmp_path)
    learn(harness, 4)
    assert decided(harness).route == "speculative"
    into_the_band(harness)
    again = decided(harness)
    assert (again.route, again.reason) == ("speculative", "hysteresis")

    learn(harness, 0, task="qa")
    assert decided(harness, task="qa").route == "vanilla"
    into_the_band(harness, task="qa")
    again = decided(harness, task="qa")
    assert (again.route, again.reason) == ("vanilla", "hysteresis")


async def test_the_memory_is_one_per_tenant_and_task(tmp_path: Path) -> None:
    """What one tenant settled on for a task moves neither its other tasks nor other tenants."""
    harness = await harness_in(tmp_path)
    learn(harness, 4, tenant="acme")
    assert decided(harness, tenant="acme").route == "speculative"
    into_the_band(harness, tenant="acme")
    assert decided(harness, tenant="acme").route == "speculative"
    assert decided(harness, tenant="other").route == "vanilla"


async def test_without_any_pool_the_client_is_told_when_to_come_back(tmp_path: Path) -> None:
    """503 with Retry-After, pointing to /readyz."""
    harness = Harness(tmp_path)
    with pytest.raises(UnavailableError, match="/readyz") as caught:
        decided(harness)
    assert caught.value.retry_after_s


async def test_an_outage_is_not_remembered_as_a_choice(tmp_path: Path) -> None:
    """When the preferred pool is back, so is the choice."""
    harness = await harness_in(tmp_path)
    learn(harness, 4)
    assert decided(harness).profile == "ngram"
    harness.ngram.status_error = gone()
    await harness.pools.poll()
    assert decided(harness).profile == "vanilla"
    harness.ngram.status_error = None
    await harness.pools.poll()
    assert decided(harness).profile == "ngram"


async def test_requests_speculation_cannot_serve_go_to_vanilla(tmp_path: Path) -> None:
    """With that reason, whatever the evidence."""
    harness = await Harness(tmp_path).ready()
    policy = harness.policies.resolve(tenant="acme", task="code")
    decision = harness.decider.decide(request(min_p=0.1), "code", policy).decision
    assert (decision.route, decision.reason) == ("vanilla", "unsupported")


async def test_what_other_routers_have_in_flight_counts(tmp_path: Path) -> None:
    """Two routers that see the same evidence do not both fill the same pool."""
    harness = await harness_in(tmp_path, mode="adaptive")
    learn(harness, 4)
    assert decided(harness).profile == "ngram"

    async def crowded() -> dict[str, Any]:
        return {"replica": "a", "running": 400}

    harness.ngram.status = crowded  # type: ignore[method-assign]
    await harness.pools.poll()
    assert decided(harness).profile == "vanilla"
    harness.clock.now_s += 10  # what was reported then says nothing of now
    assert decided(harness).profile == "ngram"


async def test_demand_and_work_are_forecast_by_route(tmp_path: Path) -> None:
    """Every decision counts, with the engine time it should take."""
    harness = await harness_in(tmp_path, mode="adaptive")
    learn(harness, 4)
    learn(harness, 0, task="chat")
    for _ in range(30):
        harness.clock.now_s += 1
        decided(harness)
        decided(harness, task="chat")
    found = harness.decider.forecaster.forecast(harness.clock.now_s)
    assert set(found) == {"speculative", "vanilla"}
    for expected in found.values():
        assert expected.requests_per_s == pytest.approx(1.0, rel=0.15)
        assert expected.work > 0


async def test_the_home_replica_counts_where_the_decision_is_for_its_pool(tmp_path: Path) -> None:
    """A name of one pool's replica means nothing in another pool."""
    harness = await harness_in(tmp_path, mode="always_speculative", allow_overrides=True)
    first = [{"role": "user", "content": "hello"}]
    turn = [*first, {"role": "assistant", "content": "hi"}, {"role": "user", "content": "and now?"}]
    before = request(messages=first).conversation.after
    policy = harness.policies.resolve(tenant="default", task="code")

    def home(profile: str, **headers: str) -> str:
        harness.expectations.memory.said(before, Home(profile, "a1b2", 61), harness.clock.now_s)
        return harness.decider.decide(request(headers, messages=turn), "code", policy).home

    assert home("ngram") == "a1b2"
    assert home("vanilla") == ""
    assert home("vanilla", **{"x-specroute-route": "vanilla"}) == "a1b2"
    harness.clock.now_s += policy.affinity_s + 1
    assert harness.decider.decide(request(messages=turn), "code", policy).home == ""


async def test_a_decision_carries_what_it_compared(tmp_path: Path) -> None:
    """Every arm of every pool, so that it can be explained and checked."""
    harness = await harness_in(tmp_path, mode="adaptive")
    decision = decided(harness)
    assert {(score.profile, score.k) for score in decision.scores} == {
        ("vanilla", 0),
        *(("ngram", k) for k in range(9)),
    }
    assert decision.score in decision.scores
