"""What operators may see: evidence, decisions, engines and the policy in force."""

from __future__ import annotations

import os
import platform
from collections import deque
from collections.abc import Callable, Collection
from typing import Any

from policies.cost import PredictionError, calibration
from policies.drift import DriftEvent
from policies.forecast import Forecaster
from replicas.profiles import Profile
from router.alpha_table import AlphaTable
from router.decisions import Decisions
from router.learning import Learning
from router.policy_source import PolicySource
from router.pools import Pools
from router.stats import Snapshot

_KEPT_EVENTS = 100


class Admin:
    """Reads the router's state for the admin API; `decisions` receives every outcome, and keeps the last."""

    def __init__(
        self,
        *,
        snapshot: Snapshot,
        learning: Learning,
        pools: Pools,
        policies: PolicySource,
        predictions: PredictionError,
        forecaster: Forecaster,
        model: str,
        clock: Callable[[], float],
    ) -> None:
        self._snapshot = snapshot
        self._alpha = AlphaTable(snapshot, learning, policies, clock)
        self._pools = pools
        self._predictions = predictions
        self._forecaster = forecaster
        self._model = model
        self._clock = clock
        self.decisions = Decisions(clock)
        self._events: deque[DriftEvent] = deque(maxlen=_KEPT_EVENTS)

    def on_drift(self, event: DriftEvent) -> None:
        """Keep one event for `drift`."""
        self._events.append(event)

    def drift(self) -> dict[str, Any]:
        """The newest drift events first: what this router noticed since it started."""
        return {"events": [_event_entry(event) for event in reversed(self._events)]}

    def replicas(self) -> dict[str, Any]:
        """Every pool: whether it answers, and its load; and what is expected of each route."""
        forecast = self._forecaster.forecast(self._clock())
        return {
            "forecast": {route: expected._asdict() for route, expected in forecast.items()},
            "pools": [
                {
                    "profile": state.profile.name,
                    "method": state.profile.method,
                    "max_k": state.profile.k,
                    "least_asked": state.profile.least_asked,
                    "prompt_lookup": _lookup(state.profile),
                    "available": state.available,
                    "ejected": self._pools.ejected(state.profile.name),
                    "in_flight": state.in_flight,
                    "replicas": state.engines,
                    "demand": state.demand,
                    "capacity": state.capacity,
                    "last_error": state.last_error,
                    "status": state.status,
                }
                for state in self._pools
            ],
        }

    def cost(self) -> dict[str, Any]:
        """Every pool's step time: saved as a file, a calibration for the next start."""
        now_s = self._clock()
        return calibration(
            {
                (name := state.profile.name): state.cost.entry(
                    self._predictions.accuracy(name, now_s), believed=state.step_time
                )
                for state in self._pools
            },
            model=self._model,
            machine=f"{platform.machine()}, {os.cpu_count()} cores",
        )

    def alpha(self, *, task: str | None = None, tenant: str | None = None) -> dict[str, Any]:
        """Every cell, and every task over all temperatures, each with the arm last chosen there.

        `task` and `tenant` filter.
        """
        rows = self._alpha.entries(task=task, tenant=tenant)
        return {
            "entries": self._with_arms(rows),
            "store_up": self._snapshot.store_up,
            "store_age_s": self._snapshot.age_s(self._clock()),
        }

    def totals(self, tenants: Collection[str | None]) -> list[dict[str, Any]]:
        """The entries of `alpha` over all temperatures, of these tenants; None is the tasks' own."""
        return self._with_arms(self._alpha.totals(tenants))

    def _with_arms(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        least = {state.profile.name: state.profile.least_asked for state in self._pools}
        return [
            {
                **row,
                "arm": self.decisions.arm(row["task"], row["tenant"]),
                "least_asked": least.get(row["profile"], 1),
            }
            for row in rows
        ]


def _lookup(profile: Profile) -> dict[str, int] | None:
    """The endings an n-gram drafter looks up, with which its drafts can be replayed."""
    return profile.prompt_lookup.model_dump() if profile.method == "ngram" else None


def _event_entry(event: DriftEvent) -> dict[str, Any]:
    return {
        "kind": event.kind,
        "profile": event.profile,
        "task": event.task,
        "at": event.at_s,
        "before": event.before,
        "after": event.after,
        "requests": event.requests,
        "fallen": list(event.fallen),
        "gained": [share._asdict() for share in event.gained],
    }
