"""However many tenants there are, what a router keeps of them has an end."""

import gc
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from app_client import client_of
from fakes import CHAT, FakePool, Harness, ending, state_of, whole

import policies.memory
import policies.task_beliefs
import router.decisions
from policies.cells import CellDelta, CellKey, CellRecord
from router.conversations import conversation
from router.stats import StatsBuffer
from router.telemetry import Metrics

pytestmark = pytest.mark.unit

CAP = 200
STATIC = 1100
"""Larger than what is there without any tenant (words of the classifier), and than the smallest caps of 1000."""


def containers(root: object) -> Iterator[tuple[int, str]]:
    """Every container that can be reached, its length and where it was found."""
    seen: set[int] = set()
    waiting: list[tuple[object, str]] = [(root, "")]
    while waiting:
        found, path = waiting.pop()
        if id(found) in seen or isinstance(found, type | ModuleType | str | bytes | int | float):
            continue
        seen.add(id(found))
        if isinstance(found, dict | set | frozenset | list | deque):
            yield len(found), path
        waiting += [(part, f"{path}{step}") for step, part in parts(found)]


def parts(holder: object) -> Iterator[tuple[str, object]]:
    """What an object holds."""
    if isinstance(holder, dict):
        yield from ((f"[{str(key)[:30]}]", value) for key, value in holder.items())
    elif isinstance(holder, list | tuple | set | frozenset | deque):
        yield from (("[]", value) for value in holder)
    elif (bound := getattr(holder, "__self__", None)) is not None:
        yield "()", bound
    else:
        names = [*getattr(holder, "__dict__", ())]
        for kind in type(holder).__mro__:
            slots = kind.__dict__.get("__slots__", ())
            names += [slots] if isinstance(slots, str) else slots
        yield from ((f".{name}", getattr(holder, name)) for name in names if hasattr(holder, name))
        for cell in getattr(holder, "__closure__", None) or ():
            yield "<>", cell.cell_contents


async def test_random_tenants_leave_bounded_traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With small caps and many names nothing a router holds grows past them, and named tenants are still learned."""
    for module in (policies.memory, router.decisions):
        monkeypatch.setattr(module, "MAX_TASKS", CAP)
    monkeypatch.setattr(policies.memory, "MAX_CONVERSATIONS", CAP)
    monkeypatch.setattr(policies.task_beliefs, "_MAX_ESTIMATES", CAP)
    answers = [[whole(ending=ending((1, 1), (1, 0)))]]
    harness = await Harness(
        tmp_path, ngram=FakePool(*answers), vanilla=FakePool(*answers), tenants={"acme": {}}
    ).ready()
    harness.buffer._max_tenants = CAP
    harness.buffer._reserved = lambda tenant: tenant in harness.policies.policy.spec.tenants
    metrics = Metrics(state_of(harness))
    harness.service._hooks = (*harness.service._hooks, metrics.on_outcome)
    turns = [{"role": role, "content": "text"} for role in ("user", "assistant", "user")]
    async with client_of(harness) as client:
        for number in range(2_500):
            tenant = "acme" if number > 2_000 and number % 100 == 0 else f"tenant-{number}"
            response = await client.post(
                CHAT,
                json={"messages": turns},
                headers={"X-Specroute-Tenant": tenant, "X-Specroute-Task": "chat"},
            )
            assert response.status_code == 200
            for told in (
                harness.outcomes,
                *(
                    told
                    for pool in (harness.ngram, harness.vanilla)
                    for told in (pool.calls, pool.homes, pool.avoided)
                ),
            ):
                told.clear()  # what the fakes note
    assert harness.idle
    assert {key.tenant for key in harness.buffer} >= {None, "acme"}
    assert len({key.tenant for key in harness.buffer}) == CAP + 2
    found = sorted(containers([harness.service, harness.buffer, metrics]), reverse=True)
    assert [one for one in found if one[0] > STATIC] == []
    told = set(re.findall(r'tenant="([^"]*)"', metrics.exposition().decode()))
    assert told == {"acme"}


def held(make: Callable[[int], Any]) -> int:
    """Bytes that 100,000 calls leave behind after the first 50,000."""
    for number in range(50_000):
        make(number)
    gc.collect()
    before = sys.getallocatedblocks()
    for number in range(50_000, 100_000):
        make(number)
    gc.collect()
    return sys.getallocatedblocks() - before


def test_a_hundred_thousand_names_in_the_buffer() -> None:
    """A thousand of them have cells, and the named ones; the second half adds nothing."""
    buffer = StatsBuffer(reserved=lambda tenant: tenant == "acme")
    delta = CellDelta(600.0, {"requests": 1.0}, {"requests": 1})

    def record(number: int) -> None:
        tenant = "acme" if number % 1000 == 999 else f"tenant-{number}"
        key = CellKey("ngram", "chat", "low", tenant)
        buffer.record({key: delta, key._replace(tenant=None): delta}, 0.0)

    left = held(record)
    print(f"blocks held by the second 50,000 names: {left}")
    assert left < 1_000
    assert len(buffer) == 1002
    assert buffer[CellKey("ngram", "chat", "low", "acme")].lifetime["requests"] == 100
    assert buffer[CellKey("ngram", "chat", "low")].lifetime["requests"] == 100_000


def test_a_hundred_thousand_names_in_the_memory_of_choices() -> None:
    """It holds its 20,000 tenants and tasks and 50,000 conversations."""
    memory = policies.memory.Memory()
    turns = {"messages": [{"role": "user", "content": "x"}]}
    home = policies.memory.Home("ngram", "r", 10.0)

    def note(number: int) -> None:
        tenant = f"tenant-{number}"
        memory.settle(tenant, "chat", "vanilla", float(number))
        memory.said(conversation(tenant, turns).after, home, float(number))

    left = held(note)
    print(f"blocks held by the second 50,000 names: {left}")
    assert left < 1_000
    assert (len(memory._settled), len(memory._turns)) == (20_000, 50_000)


def test_a_named_tenant_is_learned_from_the_store_too() -> None:
    """However many others the store has; and it takes no place away from them."""
    buffer = StatsBuffer(max_tenants=3, reserved=lambda tenant: tenant == "acme")
    cell = CellKey("ngram", "chat", "low")
    record = CellRecord({"requests": 1.0}, {"requests": 1}, 0.0)
    names = [*(f"tenant-{number}" for number in range(50)), "acme"]
    stored = {cell._replace(tenant=name): record for name in names}
    for take in (buffer.learn, buffer.relearn, buffer.learn):
        take(stored)
        assert len(buffer) == 4
        assert cell._replace(tenant="acme") in buffer
