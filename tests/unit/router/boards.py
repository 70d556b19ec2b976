"""A dashboard over fake pools, and what its tests feed it."""

import json
from collections.abc import Sequence
from typing import Any

from fakes import Harness

from policies.drift import DriftEvent
from policies.forecast import Forecaster
from router.admin import Admin
from router.canary_watch import CanaryState
from router.dashboard import About, Dashboard, Sources
from router.dashboard.tally import Key, Seen


class Board:
    """A dashboard that gets what a harness' service tells its hooks."""

    def __init__(self, harness: Harness) -> None:
        self.canary = CanaryState("off")
        self.admin = Admin(
            snapshot=harness.buffer,
            learning=harness.learning,
            pools=harness.pools,
            policies=harness.policies,
            predictions=harness.expectations.predictions,
            forecaster=Forecaster(),
            model="m",
            clock=harness.clock,
        )
        self.dashboard = Dashboard(
            Sources(self.admin, lambda: harness.admission, harness.policies, harness.buffer, harness.clock),
            About("m", 1, "router-1", harness.clock()),
            pools=harness.pools,
            predictions=harness.expectations.predictions,
            canary=lambda: self.canary,
        )
        harness.service._hooks = (
            *harness.service._hooks,
            self.admin.decisions.on_outcome,
            self.dashboard.on_outcome,
        )


def seen(task: str = "code", tenant: str = "acme", k: int = 4, **more: Any) -> Seen:
    """One request that was answered."""
    arm = ("ngram", k) if k else ("vanilla", 0)
    return Seen(Key(task, tenant), arm, more.pop("reason", "gain"), more.pop("result", "completed"), **more)


def drift(at_s: float, kind: Any = "task_fell") -> DriftEvent:
    """A task that fell."""
    return DriftEvent(kind, "ngram", "code", at_s, 0.8, 0.3, 20)


def events(body: bytes) -> Sequence[tuple[str, Any]]:
    """Names and data of server-sent events."""
    found = []
    for part in body.decode().split("\n\n"):
        if part:
            name, data = part.split("\n")
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found
