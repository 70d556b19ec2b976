"""The loop on real engines: what is answered is learned from, and what was learned decides."""

from __future__ import annotations

import time
from collections import defaultdict
from statistics import median
from typing import Any

import pytest
from whole_service import Service

pytestmark = pytest.mark.engine

_FUNCTIONS = [
    "def {0}_area(width, height):\n    return width * height\n\ndef {0}_edge(width, height):\n    return 2 * (width + height)\n",
    "def {0}_total(items):\n    total = 0\n    for item in items:\n        total = total + item.price\n    return total\n",
    "class {0}:\n    def __init__(self, name):\n        self.name = name\n\n    def greet(self):\n        return 'hello ' + self.name\n",
]
EDITS = [
    f"Copy this Python code exactly as it is:\n```python\n{function.format(name)}```"
    for name in ("shape", "order", "guest", "room")
    for function in _FUNCTIONS
]
TALK = [
    f"Tell me in one sentence how you feel about {thing}."
    for thing in (
        "rain",
        "Mondays",
        "the sea",
        "old books",
        "trains",
        "cats",
        "coffee",
        "winter",
        "maps",
        "jazz",
    )
]


def _ask(service: Service, task: str, prompt: str, **headers: str) -> dict[str, Any]:
    response = service.chat(
        prompt,
        max_tokens=64,
        headers={
            "X-Specroute-Task": task,
            "X-Specroute-Details": "1",
            "X-Specroute-Tenant": "acme",
            **headers,
        },
    )
    assert response.status_code == 200, response.text
    details: dict[str, Any] = response.json()["specroute"]
    return details


def _lifetime(service: Service) -> dict[tuple[str, str, str | None], dict[str, int]]:
    return {
        (entry["profile"], entry["task"], entry["tenant"]): entry["lifetime"]
        for entry in service.admin("alpha")["entries"]
        if entry["temperature"] is None
    }


def _gained(now: dict[Any, dict[str, int]], before: dict[Any, dict[str, int]]) -> dict[Any, dict[str, int]]:
    gained = {
        cell: {name: count - before.get(cell, {}).get(name, 0) for name, count in totals.items()}
        for cell, totals in now.items()
    }
    return {cell: totals for cell, totals in gained.items() if any(totals.values())}


def test_counters_equal_a_recount_and_survive_a_restart(service: Service) -> None:
    """Lifetime totals per task and tenant are those of the answers' own details, before and after a restart."""
    before = _lifetime(service)
    recount: dict[tuple[str, str, str | None], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for number in range(24):
        task, prompt = ("code", EDITS[number % 12]) if number % 2 else ("chat", TALK[number % 10])
        tenant, k = f"tenant-{number % 3}", number % 6
        hints = {"X-Specroute-Route": "speculative" if k else "vanilla", "X-Specroute-K": str(k)}
        details = _ask(service, task, prompt, **{"X-Specroute-Tenant": tenant}, **hints)
        assert max(details["per_step_drafted"], default=0) <= k
        assert details["completion_tokens"] == 1 + details["steps"] + details["accepted"]
        for owner in (None, tenant):
            cell = recount[details["profile"], task, owner]
            cell["requests"] += 1
            cell["steps"] += details["steps"]
            cell["drafted"] += details["drafted"]
            cell["accepted"] += details["accepted"]
            cell["tokens"] += details["steps"] + details["accepted"]
    total = _lifetime(service)
    assert _gained(total, before) == recount
    alpha = _alpha(service)
    service.stop()
    seconds = service.start()
    print(f"ready again after {seconds:.0f} s")
    assert _lifetime(service) == total
    for cell, value in _alpha(service).items():
        # Counters fade toward the prior meanwhile; half of them are left after ten minutes.
        assert value == pytest.approx(alpha[cell], abs=0.1)


def _alpha(service: Service) -> dict[tuple[str, str, str | None], float]:
    return {
        (entry["profile"], entry["task"], entry["tenant"]): entry["alpha"]
        for entry in service.admin("alpha")["entries"]
        if entry["temperature"] is None and entry["alpha"] is not None
    }


def test_editing_ends_on_speculation_and_is_faster_there(service: Service, record_property: Any) -> None:
    """Code copied with small changes speculates and takes less time per token than on the plain engine."""
    for prompt in EDITS:
        _ask(service, "code", prompt)
    time.sleep(0.1)
    tpot: dict[str, list[float]] = {"speculative": [], "vanilla": []}
    routes = []
    for number, prompt in enumerate(EDITS):
        order = ["auto", "vanilla"] if number % 2 else ["vanilla", "auto"]
        for wanted in order:
            details = _ask(service, "code", prompt, **{"X-Specroute-Route": wanted})
            if wanted == "auto":
                routes.append(details["route"])
            tpot[details["route"]].append(details["measured_s"] / max(1, details["completion_tokens"] - 1))
    assert routes.count("speculative") >= 0.8 * len(routes)
    ratio = median(tpot["speculative"]) / median(tpot["vanilla"])
    record_property("tpot_ratio_editing", round(ratio, 3))
    print(
        f"editing: TPOT speculative / vanilla = {ratio:.2f}, routes {routes.count('speculative')}/{len(routes)}"
    )
    assert ratio < 1


def test_what_measures_low_stays_plain(service: Service, record_property: Any) -> None:
    """Free talk, whose drafts are rarely accepted, is served plainly once it was measured."""
    for prompt in TALK:
        _ask(service, "chat", prompt, **{"X-Specroute-Route": "speculative", "X-Specroute-K": "4"})
    decisions = [_ask(service, "chat", prompt) for prompt in TALK]
    plain = [d for d in decisions if d["route"] == "vanilla" or d["reason"] == "exploration"]
    record_property("chat_alpha", decisions[-1]["alpha"])
    print(f"talk: alpha {decisions[-1]['alpha']:.2f}, plain {len(plain)}/{len(decisions)}")
    assert decisions[-1]["alpha"] < 0.3
    assert len(plain) == len(decisions)
