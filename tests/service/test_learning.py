"""The loop on real engines: what is answered is learned from, and what was learned decides."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from waiting import until
from whole_service import Service

from bench.chosen_arms import compared, summary, warm_up
from bench.routes_by_task import prompts_by_task

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


def _turn(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]


def _ask(service: Service, task: str, prompt: Any, **headers: str) -> dict[str, Any]:
    """The details of one answer to a prompt, or to a list of messages."""
    response = service.chat(
        "",
        messages=_turn(prompt) if isinstance(prompt, str) else prompt,
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


def test_counters_equal_a_recount(service: Service) -> None:
    """Lifetime totals per task and tenant are those of the answers' own details."""
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
    until(lambda: _gained(_lifetime(service), before) == recount)


def _alpha(service: Service) -> dict[tuple[str, str, str | None], float]:
    return {
        (entry["profile"], entry["task"], entry["tenant"]): entry["alpha"]
        for entry in service.admin("alpha")["entries"]
        if entry["temperature"] is None and entry["alpha"] is not None
    }


def test_after_mixed_traffic_the_chosen_arm_differs_by_task(service: Service, record_property: Any) -> None:
    """Code that is copied ends on speculation and emits several tokens a step; other tasks are known to differ.

    Which arm is how much faster is the benchmark's to say: `python -m bench.chosen_arms`. The ratios of times
    are recorded beside the result, not judged; nor are the arms of the other tasks, of which some are about as
    fast either way.
    """

    def ask(task: str, messages: Any, route: str = "auto") -> dict[str, Any]:
        return _ask(service, task, messages, **{"X-Specroute-Route": route})

    prompts = {
        "code": [_turn(prompt) for prompt in EDITS[:4]],
        "chat": [_turn(prompt) for prompt in TALK[:4]],
    }
    prompts |= {task: prompts_by_task(None, 3)[task] for task in ("extraction", "qa")}
    warm_up(ask, prompts, 60)
    rows = {task: summary(task, compared(ask, task, of_task)) for task, of_task in prompts.items()}
    for task, row in rows.items():
        print(
            f"{task:12s} {row['profile']:8s} k={row['k']} {row['reason']:10s} "
            f"TPOT / other route {row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})"
        )
        record_property(f"tpot_ratio_{task}", round(row["ratio"], 3))
    assert rows["code"]["route"] == "speculative"
    alpha = {task: value for (profile, task, owner), value in _alpha(service).items() if owner is None}
    print({task: round(value, 3) for task, value in alpha.items()})
    assert alpha["code"] > alpha["chat"]
    details = _ask(service, "code", EDITS[0], **{"X-Specroute-Route": "speculative"})
    assert details["acceptance_length"] > 2


def test_answers_of_the_plain_route_teach_what_drafts_would_have_done(service: Service) -> None:
    """A task that never speculated has an estimate all the same, from replays, and counters of its own only."""
    for prompt in EDITS[6:10]:
        details = _ask(service, "legal", prompt, **{"X-Specroute-Route": "vanilla"})
        assert details["route"] == "vanilla"

    def of_ngram() -> list[dict[str, Any]]:
        rows = service.admin("alpha?task=legal")["entries"]
        return [row for row in rows if row["profile"] == "ngram" and row["replayed_requests"]]

    until(of_ngram)
    for row in of_ngram():
        assert row["alpha"] > 0.3
        assert row["lifetime"]["drafted"] == 0
