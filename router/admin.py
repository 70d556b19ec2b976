"""What operators may see: evidence, decisions, engines and the policy in force."""

from __future__ import annotations

import os
import platform
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from policies.cost import PredictionError, calibration
from policies.drift import DriftEvent
from policies.forecast import Forecaster
from router.alpha_table import AlphaTable
from router.details import arm_scores
from router.learning import Learning
from router.outcomes import Outcome
from router.policy_source import PolicySource
from router.pools import Pools
from router.stats import Snapshot

_KEPT_DECISIONS = 1000
_KEPT_EVENTS = 100


class Admin:
    """Reads the router's state for the admin API. Receives every outcome, and keeps the last ones."""

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
        self._policies = policies
        self._predictions = predictions
        self._forecaster = forecaster
        self._model = model
        self._clock = clock
        self._decisions: deque[dict[str, Any]] = deque(maxlen=_KEPT_DECISIONS)
        self._events: deque[DriftEvent] = deque(maxlen=_KEPT_EVENTS)

    def on_outcome(self, outcome: Outcome) -> None:
        """Keep one outcome for `decisions`."""
        self._decisions.append(_decision_entry(outcome))

    def on_drift(self, event: DriftEvent) -> None:
        """Keep one event for `drift`."""
        self._events.append(event)

    def drift(self) -> dict[str, Any]:
        """The newest drift events first: what this router noticed since it started."""
        return {"events": [_event_entry(event) for event in reversed(self._events)]}

    def decisions(self, *, limit: int, request_id: str | None = None) -> dict[str, Any]:
        """The newest decisions first."""
        newest: Iterable[dict[str, Any]] = reversed(self._decisions)
        if request_id is not None:
            newest = (entry for entry in newest if entry["request_id"] == request_id)
        return {"decisions": [entry for entry, _ in zip(newest, range(limit), strict=False)]}

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
                    "available": state.available,
                    "in_flight": state.in_flight,
                    "replicas": state.profile.replicas,
                    "capacity": state.profile.max_num_seqs * state.profile.replicas,
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
                state.profile.name: state.cost.entry(self._predictions.accuracy(state.profile.name, now_s))
                for state in self._pools
            },
            model=self._model,
            machine=f"{platform.machine()}, {os.cpu_count()} cores",
        )

    def policy(self) -> dict[str, Any]:
        """The policy in force, as it was written."""
        return asdict(self._policies.state)

    def alpha(self, *, task: str | None = None, tenant: str | None = None) -> dict[str, Any]:
        """Every cell, and every task over all temperatures; `task` and `tenant` filter."""
        return {
            "entries": self._alpha.entries(task=task, tenant=tenant),
            "store_up": self._snapshot.store_up,
            "store_age_s": self._snapshot.age_s(self._clock()),
        }


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


def _decision_entry(outcome: Outcome) -> dict[str, Any]:
    decision, ending = outcome.decision, outcome.ending
    return {
        "request_id": outcome.request.request_id,
        "at": outcome.at_s,
        "tenant": outcome.request.tenant,
        "task": outcome.task,
        "task_confidence": outcome.confidence,
        "temperature": outcome.request.temperature,
        "route": decision.route,
        "profile": decision.profile,
        "replica": (ending.replica or None) if ending else None,
        "k": decision.k,
        "reason": decision.reason.value,
        "propensity": decision.propensity,
        "alpha": decision.alpha,
        "expected_speedup": decision.expected_speedup,
        "confidence": decision.confidence,
        "expected_tokens": outcome.work.output_tokens if outcome.work else None,
        "arms": arm_scores(decision.scores),
        "intended": decision.intended,
        "policy": outcome.policy,
        "result": outcome.result,
        "status": outcome.status,
        "error": outcome.error,
        "failovers": outcome.failovers,
        "ttft_s": outcome.ttft_s,
        "decode_s": ending.decode_s if ending else None,
        "completion_tokens": ending.completion_tokens if ending else None,
        "steps": len(ending.per_step_accepted) if ending and ending.counted else None,
    }
