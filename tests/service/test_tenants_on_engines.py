"""Tenants on real engines: their thresholds, their own figures, what they borrow, and what they set themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from test_learning import EDITS
from waiting import ANSWER_S, until
from whole_service import POLICY, Service

pytestmark = pytest.mark.engine

TASK = "sql"
"""A task no other test asks for; its prompts are code to be copied, whose drafts are mostly accepted."""
TAUGHT = {"eager": 4, "strict": 3}
SAME = EDITS[4:6]
TENANTS = """\
apiVersion: specroute/v1
kind: RoutingPolicy
metadata: {name: tenants}
spec:
  mode: threshold
  allow_overrides: true
  exploration: {share: 0.0, max_share: 0.0}
  threshold: {enable_above: 0.30, disable_below: 0.20}
  acceptance: {half_life: 24h}
  limits: {deadline: 900s}
  tenants:
    eager:
      threshold: {enable_above: 0.10, disable_below: 0.05}
      self_service: {threshold: {min: 0.05, max: 0.99}}
    strict:
      threshold: {enable_above: 0.99, disable_below: 0.98}
"""


def _ask(service: Service, tenant: str, prompt: str, **headers: str) -> dict[str, Any]:
    """The details of one answer."""
    told = {"X-Specroute-Task": TASK, "X-Specroute-Tenant": tenant, "X-Specroute-Details": "1", **headers}
    response = service.chat(prompt, max_tokens=48, headers=told)
    assert response.status_code == 200, response.text
    details: dict[str, Any] = response.json()["specroute"]
    return details


def _own(service: Service, tenant: str) -> dict[str, Any]:
    """What a tenant sees of itself."""
    answer = httpx.get(
        f"{service.url}/v1/specroute/alpha?task={TASK}",
        headers={"X-Specroute-Tenant": tenant},
        timeout=ANSWER_S,
    )
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


def _set(service: Service, tenant: str, **threshold: float) -> httpx.Response:
    return httpx.put(
        f"{service.url}/v1/specroute/preferences",
        json={"threshold": threshold} if threshold else {},
        headers={"X-Specroute-Tenant": tenant},
        timeout=ANSWER_S,
    )


def _row(entries: list[dict[str, Any]], tenant: str | None) -> dict[str, Any] | None:
    """The row of the speculative pool over all temperatures."""
    found = [
        row
        for row in entries
        if (row["profile"], row["tenant"], row["temperature"]) == ("ngram", tenant, None)
    ]
    return found[0] if found else None


@pytest.fixture(scope="module")
def taught(service: Service) -> Iterator[Service]:
    """The service under a policy with two tenants that have asked the same things, one more often."""
    service.policy.write_text(TENANTS, encoding="utf-8")
    until(lambda: service.admin("policy")["name"] == "tenants")
    for tenant, times in TAUGHT.items():
        for prompt in EDITS[:times]:
            assert _ask(service, tenant, prompt, **{"X-Specroute-Route": "speculative"})["steps"]

    def replayed(tenant: str, times: int) -> bool:
        row = _row(_own(service, tenant)["entries"], tenant)
        return row is not None and row["replayed_requests"] > times - 0.5

    for tenant, times in TAUGHT.items():
        until(lambda tenant=tenant, times=times: replayed(tenant, times))
    try:
        yield service
    finally:
        service.policy.write_text(POLICY, encoding="utf-8")
        until(lambda: service.admin("policy")["name"] == "tests")


def test_same_prompts_go_where_the_tenants_thresholds_say(taught: Service) -> None:
    """What one's band takes for enough, the other's does not; every tenant's figures are of its own requests."""
    for prompt in SAME:
        eager, strict = (_ask(taught, tenant, prompt) for tenant in TAUGHT)
        print({tenant["tenant"]: (tenant["route"], tenant["alpha"]) for tenant in (eager, strict)})
        assert (eager["route"], eager["reason"]) == ("speculative", "alpha_above")
        assert (strict["route"], strict["reason"]) == ("vanilla", "alpha_below")

    def counted(tenant: str) -> int:
        own = _own(taught, tenant)["entries"]
        assert {row["tenant"] for row in own} == {tenant}
        return sum(row["lifetime"]["requests"] for row in own if row["temperature"] is None)

    for tenant, times in TAUGHT.items():
        wanted = times + len(SAME)
        until(lambda tenant=tenant, wanted=wanted: counted(tenant) == wanted)


def test_a_tenant_nobody_named_borrows_from_its_task(taught: Service) -> None:
    """Its first request is decided by what the task showed, in the band of everybody."""
    assert _own(taught, "newcomer")["entries"] == []
    task = _row(taught.admin(f"alpha?task={TASK}")["entries"], None)
    assert task is not None
    details = _ask(taught, "newcomer", EDITS[6])
    print(f"task {task['alpha']:.3f} {task['interval']}, newcomer's first {details['alpha']:.3f}")
    assert details["alpha"] == pytest.approx(task["alpha"], abs=0.1)
    assert (details["route"], details["reason"]) == ("speculative", "alpha_above")


def test_a_tenant_sets_its_own_band(taught: Service) -> None:
    """Within its bounds its next request goes elsewhere; beyond them it is refused and nothing changes."""
    refused = _set(taught, "eager", enable_above=1.0, disable_below=0.01)
    assert refused.status_code == 422
    assert len(refused.json()["problems"]) == 2
    assert _set(taught, "strict", enable_above=0.5, disable_below=0.4).status_code == 403
    assert _set(taught, "newcomer", enable_above=0.5, disable_below=0.4).status_code == 403
    assert _ask(taught, "eager", SAME[0])["route"] == "speculative"
    assert _set(taught, "eager", enable_above=0.99, disable_below=0.98).status_code == 200
    details = _ask(taught, "eager", SAME[0])
    assert (details["route"], details["reason"]) == ("vanilla", "alpha_below")
    assert _set(taught, "eager").status_code == 200
    assert _ask(taught, "eager", SAME[0])["route"] == "speculative"
